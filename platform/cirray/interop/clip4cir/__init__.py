"""Import and export of CLIP4Cir checkpoints (Baldrati et al., CVPRW 2022)."""
