"""Reranking: the reranker, and how many results it scores again."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cirray.config.registry import RERANKERS, one_of
from cirray.config.section import Fraction, Positive, Section


class RerankerSettings(Section):
    """The reranker of stage 3. Each one uses the fields that it needs."""

    function: Annotated[str, *one_of(RERANKERS)] = Field("attention", description="reranker")
    hidden: Positive = Field(128, description="h: width of the hidden layers")
    dropout: Fraction = Field(0.1, description="dropout rate in the hidden layers")


class Reranking(Section):
    """Reranking in an evaluation."""

    top: int = Field(
        0, ge=0, description="first results of each query that the bundle's reranker scores again; 0 = no reranking"
    )
