"""Dataset formats. Each public module is one format, and its name is what `data.format` takes.

A module provides what `DatasetFormat` lists; nothing else has to name it.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from cirray.config.registry import DATA_FORMATS
from cirray.data.formats._interface import DatasetFormat

__all__ = ["DatasetFormat", "all_formats", "load_format"]


def load_format(name: str) -> DatasetFormat:
    """Returns the module of the format called `name`."""
    return cast(DatasetFormat, import_module(f"{__name__}.{name}"))


def all_formats() -> dict[str, DatasetFormat]:
    """Returns every format by its name."""
    return {name: load_format(name) for name in DATA_FORMATS}
