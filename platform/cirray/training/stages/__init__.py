"""The three training stages, a module each."""
