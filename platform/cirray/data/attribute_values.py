"""The attribute values of a dataset's images, from the catalog.jsonl in its folder."""

from __future__ import annotations

from collections.abc import Sequence

from cirray.data.catalog import Entry, read_catalog
from cirray.data.catalog.entry import Value
from cirray.data.formats.triplets import CATALOG
from cirray.data.made_triplets.usable import usable_attributes
from cirray.storage.location import Location


def read_items(root: str) -> list[Entry]:
    """Reads the items in a dataset's catalog.jsonl; [] if it has no such file.

    Args:
        root: folder or URI of the dataset.

    Raises:
        DataError: the file cannot be read.
    """
    location = Location.parse(root)
    return read_catalog(str(location / CATALOG)).entries if location.stamp(CATALOG) else []


def comparable_values(items: Sequence[Entry]) -> dict[str, dict[str, str | bool]]:
    """Returns item id -> attribute -> value, for the attributes whose values items share: texts, and true or false.

    Ids, splits and titles are left out, as from made triplets (`usable_attributes`).
    """
    names = usable_attributes(items, {}).names
    found = {}
    for item in items:
        values = {name: single_value(item.attributes.get(name)) for name in names}
        found[item.id] = {name: value for name, value in values.items() if value is not None}
    return found


def single_value(value: Value | None) -> str | bool | None:
    """Returns the only value of a text or bool attribute; None if it has none or several, or is a number."""
    if isinstance(value, list):
        return value[0] if len(value) == 1 else None
    return value if isinstance(value, (str, bool)) else None
