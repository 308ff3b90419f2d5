"""Training: the three stages, their common loop, and the run that combines them."""
