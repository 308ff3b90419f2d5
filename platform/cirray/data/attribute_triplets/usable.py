"""Which attributes of a catalog say something that a picture can show, and which look like ids, dates or addresses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cirray.data.catalog import Entry
from cirray.data.catalog.entry import Value

# Shares of the items.
MIN_FILLED = 0.05
MAX_DISTINCT = 0.3
# A text with more words than this is a description.
MAX_WORDS = 5
_INTERNAL = re.compile(
    r"(^|_)(id|ids|sku|ean|gtin|upc|mpn|isbn|handle|slug|url|link|split|status|published|created|updated|currency|stock)"
    r"($|_)",
    re.IGNORECASE,
)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}")
_ADDRESS = re.compile(r"https?://|www\.|/\S*/")


@dataclass(frozen=True, slots=True)
class Usable:
    """The attributes that triplets are made of, and why the others are not.

    Attributes:
        names: attributes to use, in the order of the catalog.
        left_out: attribute -> reason.
    """

    names: tuple[str, ...]
    left_out: Mapping[str, str]


def usable_attributes(entries: Sequence[Entry], excluded: Sequence[str] = ()) -> Usable:
    """Chooses the attributes whose differences can be described.

    Args:
        excluded: attributes that the user left out.
    """
    values: dict[str, list[Value]] = {}
    for entry in entries:
        for name, value in entry.attributes.items():
            values.setdefault(name, []).append(value)
    reasons = {name: _reason(name, found, len(entries), excluded) for name, found in values.items()}
    names = tuple(name for name, reason in reasons.items() if not reason)
    return Usable(names, {name: reason for name, reason in reasons.items() if reason})


def _reason(name: str, values: Sequence[Value], items: int, excluded: Sequence[str]) -> str:
    """Returns why an attribute is not used; "" if it is."""
    distinct = {_hashable(value) for value in values}
    if name in excluded:
        return "excluded"
    if _INTERNAL.search(name):
        return "its name is that of an id, an address or a state"
    if len(values) < MIN_FILLED * items:
        return f"only {len(values)} of {items} items have it"
    if len(distinct) < 2:
        return "all items have the same value"
    texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
    if all(isinstance(text, str) for text in texts):
        if all(_DATE.fullmatch(str(text)) for text in texts):
            return "its values are dates"
        if any(_ADDRESS.search(str(text)) for text in texts):
            return "its values are addresses or paths"
        if sum(len(str(text).split()) > MAX_WORDS for text in texts) > len(texts) / 10:
            return f"its values have more than {MAX_WORDS} words"
        if len(set(map(str, texts))) > MAX_DISTINCT * items:
            return "nearly every item has a value of its own"
    return ""


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
