"""Dataset formats, a module each."""
