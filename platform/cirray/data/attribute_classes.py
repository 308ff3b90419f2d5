"""The attribute values of a catalog as classes with a text each, such as "colour red", for stage 0.

A title names everything at once. Classes that name one value teach a small model which part of a picture a word means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cirray.data.catalog import Entry, read_catalog
from cirray.data.catalog.entry import Value
from cirray.data.made_triplets.names import spoken_name, spoken_value
from cirray.data.made_triplets.usable import usable_attributes
from cirray.data.parsing import Source
from cirray.storage.location import Location

CATALOG = "catalog.jsonl"
# All texts are encoded in every step, so their number is limited.
MAX_CLASSES = 256
MAX_CLASSES_PER_ATTRIBUTE = 64
NO_CLASS = -1


@dataclass(frozen=True, slots=True)
class AttributeClasses:
    """The classes of a catalog's A attributes, C in total.

    Attributes:
        names: the attributes [A].
        texts: the text of each class [C]; the classes of an attribute are consecutive, in the order of `names`.
        sizes: number of classes of each attribute [A].
        labels: for each of N images its class within each attribute [A], or NO_CLASS.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]
    sizes: tuple[int, ...]
    labels: tuple[tuple[int, ...], ...]


def read_attribute_classes(root: str, ids: Sequence[str]) -> AttributeClasses | None:
    """Reads the attributes in a dataset's catalog.jsonl; None if it has no such file, or no usable attribute in it.

    Args:
        root: folder or URI of the dataset.
        ids: ids of the N images to label; images that the catalog does not list have no class.

    Raises:
        DataError: the file cannot be read.
    """
    location = Location.parse(root)
    source = Source(location)
    if not source.tree.exists(source.root / CATALOG):
        return None
    return attribute_classes(read_catalog(str(location / CATALOG)).entries, ids)


def attribute_classes(entries: Sequence[Entry], ids: Sequence[str]) -> AttributeClasses | None:
    """Makes classes of the attributes that items share: texts and true or false; None if there are none.

    The most frequent values of an attribute become its classes, at most MAX_CLASSES_PER_ATTRIBUTE. Attributes that
    would exceed MAX_CLASSES in total are left out. Items with several values of an attribute have no class of it.
    """
    classes: dict[str, list[str | bool]] = {}
    for name in usable_attributes(entries, {}).names:
        values = _frequent_values([_single(entry.attributes.get(name)) for entry in entries])
        if len(values) > 1 and sum(map(len, classes.values())) + len(values) <= MAX_CLASSES:
            classes[name] = values
    if not classes:
        return None
    numbers: dict[str, dict[Any, int]] = {
        name: {value: number for number, value in enumerate(values)} for name, values in classes.items()
    }
    attributes = {entry.id: entry.attributes for entry in entries}
    labels = tuple(
        tuple(known.get(_single(attributes.get(image, {}).get(name)), NO_CLASS) for name, known in numbers.items())
        for image in ids
    )
    texts = tuple(_text(name, value) for name, values in classes.items() for value in values)
    return AttributeClasses(tuple(classes), texts, tuple(map(len, classes.values())), labels)


def _single(value: Value | None) -> str | bool | None:
    """Returns the only value of a text or bool attribute; None if it has none or several, or is a number."""
    if isinstance(value, list):
        return value[0] if len(value) == 1 else None
    return value if isinstance(value, (str, bool)) else None


def _frequent_values(values: Sequence[str | bool | None]) -> list[str | bool]:
    counts = Counter(value for value in values if value is not None)
    ordered = sorted(counts, key=lambda value: (-counts[value], str(value)))
    return [value for value in ordered if counts[value] > 1][:MAX_CLASSES_PER_ATTRIBUTE]


def _text(name: str, value: str | bool) -> str:
    if isinstance(value, bool):
        return f"{'with' if value else 'without'} {spoken_name(name)}"
    return f"{spoken_name(name)} {spoken_value(value)}"
