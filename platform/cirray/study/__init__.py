"""The embedding study: how each stage changes the space that queries and targets live in (paper section 4.4)."""
