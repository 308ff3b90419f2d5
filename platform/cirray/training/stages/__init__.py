"""The three training stages, one module each."""
