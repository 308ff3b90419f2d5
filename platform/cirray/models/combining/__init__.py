"""Combining functions: from image and text features to the query feature (paper section 3.2).

Each public module of this package is one combining function, and its name is what `stage2.combining.function` takes.
A module provides `build(dim, settings) -> CombiningFunction`; nothing else has to list it.
"""

from __future__ import annotations

from importlib import import_module

import torch

from cirray.config.training import CombiningSettings
from cirray.models.combining._interface import CombiningFunction

__all__ = ["CombiningFunction", "build_combining", "is_trainable"]

_ANY_DIM = 64


def build_combining(dim: int, settings: CombiningSettings) -> CombiningFunction:
    """Builds the combining function that `stage2.combining` describes.

    Args:
        dim: d, the width of the features.
    """
    module = import_module(f"{__name__}.{settings.function}")
    function: CombiningFunction = module.build(dim, settings)
    return function


def is_trainable(settings: CombiningSettings) -> bool:
    """Whether the combining function that `stage2.combining` describes has parameters to train; allocates none."""
    with torch.device("meta"):
        return build_combining(_ANY_DIM, settings).is_trainable()
