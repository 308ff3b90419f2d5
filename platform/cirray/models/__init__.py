"""CLIP, combining functions, losses, and the bundle that holds a trained model."""
