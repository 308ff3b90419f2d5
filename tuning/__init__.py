"""Hyperparameter search and ablations on Ray Tune, with the training loops of cirray."""
