"""The embedding study: how each training stage changes the embedding space (paper section 4.4)."""
