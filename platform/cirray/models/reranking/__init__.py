"""Registry of rerankers: the second stage, which scores the best candidates of the first stage again.

Each public module is one reranker; its name is the value of `stage3.reranker.function`. A module defines
`build(dim, settings) -> Reranker`; it is registered by existing.
"""

from __future__ import annotations

from importlib import import_module

from cirray.config.reranking import RerankerSettings
from cirray.models.reranking._interface import Reranker

__all__ = ["Reranker", "build_reranker"]


def build_reranker(dim: int, settings: RerankerSettings) -> Reranker:
    """Builds the reranker of a configuration.

    Args:
        dim: d, the width of the features.
        settings: the section `stage3.reranker`.
    """
    module = import_module(f"{__name__}.{settings.function}")
    reranker: Reranker = module.build(dim, settings)
    return reranker
