"""CLIP encoders, combining functions, the contrastive loss, and model bundles."""
