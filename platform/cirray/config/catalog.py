"""How a catalog or product feed is read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, field_validator

from cirray.config.registry import CATALOG_PRESETS, one_of
from cirray.config.section import Positive, Section


class DownloadSettings(Section):
    """How pictures at http(s) addresses are downloaded."""

    folder: str = Field("", description="folder of downloaded pictures; empty = $CIRRAY_HOME/downloads or ~/.cache/...")
    connections: Positive = Field(16, description="downloads at a time")
    per_host_per_s: float = Field(20.0, gt=0.0, description="requests a second to one host, at most")
    timeout_s: float = Field(30.0, gt=0.0, description="longest time for one request")
    max_mb: float = Field(20.0, gt=0.0, description="largest picture")
    attempts: Positive = Field(5, description="tries of a picture whose server fails or is busy")
    first_wait_s: float = Field(1.0, ge=0.0, description="longest wait before the second try; doubled for each further")
    give_up_s: float = Field(300.0, gt=0.0, description="a host that has failed all requests for so long is given up")
    max_age_h: float = Field(24.0, ge=0.0, description="hours after which a picture is asked for again, by its ETag")


class CatalogSettings(Section):
    """How a catalog file is read. Settings with the value `auto` are detected in the file and reported."""

    preset: Annotated[str, *one_of(("auto", "none", *CATALOG_PRESETS))] = Field(
        "auto", description="column names of a shop system's export; auto recognizes them"
    )
    columns: dict[str, Annotated[str, BeforeValidator(str)]] = Field(
        default_factory=dict,
        description="name -> column of the file; id, image, title and group are the item's own, others are attributes",
    )
    encoding: str = Field("auto", description="text encoding of CSV files, such as utf-8 or cp1252")
    delimiter: str = Field("auto", description="character between the cells of CSV files; tab for a tab")
    quote: str = Field("auto", description="character around cells of CSV files that hold the delimiter")
    decimal: Literal["auto", ".", ","] = Field("auto", description="decimal mark of amounts in CSV files")
    allow_private: bool = Field(False, description="also download pictures from private and loopback addresses")
    download: DownloadSettings = DownloadSettings()

    @field_validator("columns", mode="before")
    @classmethod
    def _reads_yaml(cls, value: Any) -> Any:
        """Takes a mapping as text too, as the command line has it: {id: SKU}."""
        return yaml.safe_load(value) if isinstance(value, str) else value

    @field_validator("delimiter", "quote")
    @classmethod
    def _is_one_character(cls, value: str) -> str:
        value = {"tab": "\t", "\\t": "\t"}.get(value, value)
        if value != "auto" and len(value) != 1:
            raise ValueError("must be one character, or auto")
        return value

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value != "auto":
            try:
                "".encode(value)
            except LookupError:
                raise ValueError("must be the name of a text encoding, such as utf-8 or cp1252") from None
        return value
