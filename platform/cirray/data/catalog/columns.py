"""Which column of a file is the id, the pictures, the title, the product, and which ones are attributes.

The file's columns are chosen in this order: `catalog.columns`, the preset, the names themselves (in any case), and
usual other names. All that is not obvious is noted.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from cirray.config.catalog import CatalogSettings
from cirray.config.registry import CATALOG_PRESETS
from cirray.data.catalog.table import Table
from cirray.data.filters import ATTRIBUTE
from cirray.errors import ConfigError, DataError

OWN = ("id", "image", "title", "group")
REQUIRED = ("id", "image")
# Usual names of the item's own columns, where no preset is recognized.
_ALIASES: dict[str, tuple[str, ...]] = {
    "id": ("sku", "item_id", "product_id", "article", "article_number", "code"),
    "image": (
        "images",
        "image_link",
        "image_url",
        "image_src",
        "picture",
        "pictures",
        "photo",
        "photos",
        "img",
        "file",
    ),
    "title": ("name", "product_name", "product_title"),
    "group": ("item_group_id", "product_group", "parent_id", "parent"),
}
_MOST_NAMED = 20


class Preset(BaseModel):
    """The column names of one shop system's export."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recognized_by: list[str]
    id: list[str]
    image: list[str]
    title: list[str] = []
    group: list[str] = []
    attributes: dict[str, str] = {}
    lists: dict[str, str] = {}
    named: list[tuple[str, str]] = []
    named_separator: str = ""


@dataclass(slots=True)
class ColumnMap:
    """Where each part of an item is found.

    Attributes:
        id, image, title, group: columns in order of preference; all pictures of `image`'s columns count.
        attributes: attribute -> column.
        separators: attribute -> what splits its texts into lists.
        named: (column of an attribute's name, column of its values).
        notes: how columns were recognized.
    """

    id: list[str]
    image: list[str]
    title: list[str]
    group: list[str]
    attributes: dict[str, str]
    separators: dict[str, str] = field(default_factory=dict)
    named: list[tuple[str, str]] = field(default_factory=list)
    named_separator: str = ""
    notes: list[str] = field(default_factory=list)


def map_columns(table: Table, where: str, settings: CatalogSettings) -> ColumnMap:
    """Finds the columns of a table.

    Args:
        where: what errors call the file.

    Raises:
        ConfigError: `catalog.columns` names a column that is not there.
        DataError: there is no column of ids or pictures.
    """
    chosen = _chosen(table, where, settings.columns)
    preset = _preset(table, settings.preset, where)
    mapped = _by_preset(table, *preset, chosen) if preset else _by_names(table, chosen)
    missing = [name for name in REQUIRED if not getattr(mapped, name)]
    if missing:
        lines = [
            f"{where} has no column {' and '.join(missing)}: add it, or name the column that holds it, such as "
            f"--catalog.columns.{missing[0]} NAME. There are: {', '.join(map(repr, table.columns))}",
            *mapped.notes,
            *table.notes,
        ]
        raise DataError("\n".join(lines))
    return mapped


def simplified(name: str) -> str:
    """Returns a column name in lower case with underscores, as "Image Src" and "image_src" are the same."""
    return re.sub(r"[^a-z0-9]+", "_", _ascii(name).lower()).strip("_")


def attribute_name(column: str) -> str:
    """Returns the attribute name of a column: the name itself if filters take it, else simplified; "" if none is."""
    if re.fullmatch(ATTRIBUTE, column):
        return column
    name = simplified(column)[:64]
    name = f"_{name}"[:64] if name[:1].isdigit() else name
    return name if re.fullmatch(ATTRIBUTE, name) else ""


def _ascii(name: str) -> str:
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()


def _chosen(table: Table, where: str, columns: Mapping[str, str]) -> dict[str, str]:
    """Returns `catalog.columns` with the file's own spelling of each column."""
    found = {}
    for name, column in columns.items():
        actual = _column(table, column)
        if actual is None:
            raise ConfigError(
                f"catalog.columns.{name} is {column!r}, but {where} has no such column. "
                f"There are: {', '.join(map(repr, table.columns))}"
            )
        if name not in OWN and not re.fullmatch(ATTRIBUTE, name):
            raise ConfigError(f"catalog.columns.{name}: an attribute's name has at most 64 of A-Z, a-z, 0-9, _ and -")
        found[name] = actual
    return found


def _column(table: Table, name: str) -> str | None:
    """Returns the column of this name: as it is, or else in any case and with any separators."""
    if name in table.columns:
        return name
    return next((column for column in table.columns if simplified(column) == simplified(name)), None)


def _preset(table: Table, name: str, where: str) -> tuple[str, Preset] | None:
    if name == "none":
        return None
    if name != "auto":
        return name, _read_preset(name)
    simple = {simplified(column) for column in table.columns}
    for candidate in CATALOG_PRESETS:
        preset = _read_preset(candidate)
        if simple >= set(preset.recognized_by):
            return candidate, preset
    return None


def _read_preset(name: str) -> Preset:
    text = resources.files("cirray").joinpath("data", "catalog", "presets", f"{name}.yaml").read_text("utf-8")
    return Preset.model_validate(yaml.safe_load(text))


def _by_preset(table: Table, name: str, preset: Preset, chosen: Mapping[str, str]) -> ColumnMap:
    def present(names: Sequence[str], own: str) -> list[str]:
        if own in chosen:
            return [chosen[own]]
        return [column for column in (_column(table, wanted) for wanted in names) if column is not None]

    attributes = {key: column for key, wanted in preset.attributes.items() if (column := _column(table, wanted))}
    attributes |= {key: column for key, column in chosen.items() if key not in OWN}
    mapped = ColumnMap(
        present(preset.id, "id"),
        present(preset.image, "image"),
        present(preset.title, "title"),
        present(preset.group, "group"),
        attributes,
        dict(preset.lists),
        _named(table, preset.named),
        preset.named_separator,
        [f"columns as exported by {name}"],
    )
    used = {*mapped.id, *mapped.image, *mapped.title, *mapped.group, *attributes.values()}
    used |= {column for pair in mapped.named for column in pair}
    unused = [column for column in table.columns if column not in used]
    if unused:
        mapped.notes.append(
            f"columns that the preset {name} leaves out: {', '.join(unused)}; keep one as an attribute with "
            f"--catalog.columns.NAME COLUMN"
        )
    return mapped


def _named(table: Table, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Returns the pairs of columns that are there; {n} counts from 1."""
    found = []
    for name, value in pairs:
        for n in range(1, _MOST_NAMED + 1):
            columns = _column(table, name.format(n=n)), _column(table, value.format(n=n))
            if columns[0] is not None and columns[1] is not None:
                found.append((columns[0], columns[1]))
    return found


def _by_names(table: Table, chosen: Mapping[str, str]) -> ColumnMap:
    own: dict[str, list[str]] = {}
    notes = []
    for name in OWN:
        found = chosen.get(name) or _column(table, name)
        if found is None:
            taken = {column for columns in own.values() for column in columns}
            others = (_column(table, alias) for alias in _ALIASES[name])
            found = next((column for column in others if column is not None and column not in taken), None)
        own[name] = [found] if found is not None else []
        if found is not None and found != name and name not in chosen:
            notes.append(f"column {found!r} is read as {name}")
    used = {column for columns in own.values() for column in columns} | set(chosen.values())
    attributes = {key: column for key, column in chosen.items() if key not in OWN}
    for column in table.columns:
        if column in used:
            continue
        name = attribute_name(column)
        if not name or name in attributes or name in OWN:
            notes.append(f"column {column!r} is left out: give it a name with --catalog.columns.NAME {column!r}")
            continue
        if name != column:
            notes.append(f"column {column!r} is the attribute {name}")
        attributes[name] = column
    return ColumnMap(own["id"], own["image"], own["title"], own["group"], attributes, notes=notes)


def cell(row: Mapping[str, Any], columns: Sequence[str]) -> Any:
    """Returns the first filled cell of a row in some columns; None if all are empty."""
    return next((row[column] for column in columns if row[column] not in (None, "")), None)
