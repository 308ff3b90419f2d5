"""Registry of combining functions: image and text features to the query feature (paper section 3.2).

Each public module is one combining function; its name is the value of `stage2.combining.function`. A module defines
`build(dim, settings) -> CombiningFunction`; it is registered by existing.
"""

from __future__ import annotations

from importlib import import_module

import torch

from cirray.config.training import CombiningSettings
from cirray.models.combining._interface import CombiningFunction, WithAuxiliaryLoss

__all__ = ["CombiningFunction", "WithAuxiliaryLoss", "build_combining", "is_trainable"]

_ANY_DIM = 64


def build_combining(dim: int, settings: CombiningSettings) -> CombiningFunction:
    """Builds the combining function of a configuration.

    Args:
        dim: d, the width of the features.
        settings: the section `stage2.combining`.
    """
    module = import_module(f"{__name__}.{settings.function}")
    function: CombiningFunction = module.build(dim, settings)
    return function


def is_trainable(settings: CombiningSettings) -> bool:
    """Whether the combining function that `stage2.combining` describes has parameters to train; allocates none."""
    with torch.device("meta"):
        return build_combining(_ANY_DIM, settings).is_trainable()
