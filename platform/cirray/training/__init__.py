"""Training: the stages, their common loop, and the run that combines them."""
