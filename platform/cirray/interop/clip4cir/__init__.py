"""Moving between CLIP4Cir (Baldrati et al., CVPRW 2022) and cirray: checkpoints in, checkpoints out."""
