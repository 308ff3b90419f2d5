"""The attribute values of a catalog as classes with a text each, such as "colour red", for stage 0.

A title names everything at once. Classes that name one value teach a small model which part of a picture a word means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cirray.data.attribute_values import single_value
from cirray.data.catalog import Entry
from cirray.data.made_triplets.names import spoken_name, spoken_value
from cirray.data.made_triplets.usable import usable_attributes

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


def attribute_classes(entries: Sequence[Entry], ids: Sequence[str]) -> AttributeClasses | None:
    """Makes classes of the attributes that items share: texts and true or false; None if there are none.

    The most frequent values of an attribute become its classes, at most MAX_CLASSES_PER_ATTRIBUTE. Attributes that
    would exceed MAX_CLASSES in total are left out. Items with several values of an attribute have no class of it.

    Args:
        entries: the items of the catalog.
        ids: ids of the N images to label; images that are no item have no class.
    """
    classes: dict[str, list[str | bool]] = {}
    for name in usable_attributes(entries, {}).names:
        values = _frequent_values([single_value(entry.attributes.get(name)) for entry in entries])
        if len(values) > 1 and sum(map(len, classes.values())) + len(values) <= MAX_CLASSES:
            classes[name] = values
    if not classes:
        return None
    numbers: dict[str, dict[Any, int]] = {
        name: {value: number for number, value in enumerate(values)} for name, values in classes.items()
    }
    attributes = {entry.id: entry.attributes for entry in entries}
    labels = tuple(
        tuple(known.get(single_value(attributes.get(image, {}).get(name)), NO_CLASS) for name, known in numbers.items())
        for image in ids
    )
    texts = tuple(_text(name, value) for name, values in classes.items() for value in values)
    return AttributeClasses(tuple(classes), texts, tuple(map(len, classes.values())), labels)


def _frequent_values(values: Sequence[str | bool | None]) -> list[str | bool]:
    counts = Counter(value for value in values if value is not None)
    ordered = sorted(counts, key=lambda value: (-counts[value], str(value)))
    return [value for value in ordered if counts[value] > 1][:MAX_CLASSES_PER_ATTRIBUTE]


def _text(name: str, value: str | bool) -> str:
    if isinstance(value, bool):
        return f"{'with' if value else 'without'} {spoken_name(name)}"
    return f"{spoken_name(name)} {spoken_value(value)}"
