"""Searches for good hyperparameters on Ray Tune, around the very loops that training runs."""
