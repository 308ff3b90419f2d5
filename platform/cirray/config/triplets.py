"""Triplets made from a catalog."""

from __future__ import annotations

from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, field_validator

from cirray.config.catalog import CatalogSettings
from cirray.config.section import Configuration, Positive, Section


def _as_text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value


class TripletSettings(Section):
    """How many triplets are made, and of what."""

    count: Positive = Field(20_000, description="train triplets; fewer if the catalog has fewer pairs")
    val_share: float = Field(0.1, gt=0.0, lt=1.0, description="fraction of the products, and of `count`, for val")
    exclude: tuple[str, ...] = Field((), description="attributes that are not used; title = titles are not used either")
    where: dict[str, Annotated[str, BeforeValidator(_as_text)]] = Field(
        default_factory=dict,
        description="attribute -> value of the items that triplets are made of, such as {split: train}; the written "
        "catalog has all items",
    )

    @field_validator("where", mode="before")
    @classmethod
    def _reads_yaml(cls, value: Any) -> Any:
        """Takes a mapping as text too, as the command line has it; its values stay texts: {code: 0012}."""
        return yaml.load(value, yaml.BaseLoader) if isinstance(value, str) else value  # noqa: S506 - reads texts only


class TripletsConfig(Configuration):
    """How triplets are made from a catalog."""

    seed: int = Field(0, ge=0, lt=2**31, description="random seed")
    catalog: CatalogSettings = CatalogSettings()
    triplets: TripletSettings = TripletSettings()
