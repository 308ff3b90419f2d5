"""Registry of dataset formats. Each public module is one format; its name is the value of `data.format`.

A module implements `DatasetFormat`; it is registered by existing.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from cirray.config.registry import DATA_FORMATS
from cirray.data.formats._interface import DatasetFormat

__all__ = ["DatasetFormat", "all_formats", "load_format"]


def load_format(name: str) -> DatasetFormat:
    """Imports the format module `name`."""
    return cast(DatasetFormat, import_module(f"{__name__}.{name}"))


def all_formats() -> dict[str, DatasetFormat]:
    """Returns all formats by name."""
    return {name: load_format(name) for name in DATA_FORMATS}
