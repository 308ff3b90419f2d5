"""Triplets from a catalog's attributes."""

from __future__ import annotations

from pydantic import Field

from cirray.config.catalog import CatalogSettings
from cirray.config.section import Configuration, Fraction, Positive, Section


class AttributeTriplets(Section):
    """How many triplets are made, and of which attributes."""

    count: Positive = Field(20_000, description="train triplets; fewer if the catalog has fewer pairs")
    val_share: Fraction = Field(0.1, description="fraction of the products, and of `count`, for the val split")
    exclude: tuple[str, ...] = Field((), description="attributes that are not used")


class TripletsConfig(Configuration):
    """How triplets are made from a catalog."""

    seed: int = Field(0, ge=0, lt=2**31, description="random seed")
    catalog: CatalogSettings = CatalogSettings()
    triplets: AttributeTriplets = AttributeTriplets()
