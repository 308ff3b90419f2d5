"""Chooses the attributes that triplets are made of.

Left out are attributes that no picture shows, such as ids, dates and addresses, and those that few items share.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cirray.data.catalog import Entry
from cirray.data.catalog.entry import Value
from cirray.data.made_triplets.names import is_price, spoken_name

# Minimum share of the items that have the attribute.
MIN_FILLED = 0.05
# Maximum number of different texts: a share of the items, but so many in any catalog.
MAX_DISTINCT = 0.3
FEW_DISTINCT = 10
# A text with more words than this is a description.
MAX_WORDS = 5
# Different integers from here on are codes, such as EANs and timestamps.
_CODES_FROM = 10_000_000
_INTERNAL = re.compile(
    r"\b(asin|availability|barcode|created|currency|date|ean|gtin|guid|handle|id|ids|inventory|isbn|link|mpn|published|"
    r"quantity|rating|reviews|shipping|sku|slug|split|status|stock|tax|timestamp|upc|updated|url|uuid)\b"
)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}")
_ADDRESS = re.compile(r"https?://|www\.|/\S*/|\S@\S+\.\S")


@dataclass(frozen=True, slots=True)
class Usable:
    """The attributes that triplets are made of, and why the others are not.

    Attributes:
        names: attributes to use, in the order of the catalog.
        left_out: attribute -> reason.
    """

    names: tuple[str, ...]
    left_out: Mapping[str, str]


def usable_attributes(entries: Sequence[Entry], excluded: Mapping[str, str]) -> Usable:
    """Chooses the attributes whose differences can be described.

    Args:
        excluded: attributes that the user left out -> reason.
    """
    values: dict[str, list[Value]] = {}
    for entry in entries:
        for name, value in entry.attributes.items():
            values.setdefault(name, []).append(value)
    reasons = {name: excluded.get(name) or _reason(name, found, len(entries)) for name, found in values.items()}
    prices = [name for name in values if not reasons[name] and is_price(name) and _numbers(values[name])]
    reasons |= dict.fromkeys(prices[1:], f"{''.join(prices[:1])} is the price that is used")
    names = tuple(name for name, reason in reasons.items() if not reason)
    if len(names) == 1:  # then any two items with different values would be a pair
        reasons[names[0]], names = "a pair must agree in another attribute, and no other is used", ()
    return Usable(names, {name: reason for name, reason in reasons.items() if reason})


def _reason(name: str, values: Sequence[Value], items: int) -> str:
    """Returns why an attribute is not used; "" if it is."""
    if _INTERNAL.search(spoken_name(name)):
        return "its name is that of an id, a date, an address or a state"
    if len(values) < MIN_FILLED * items:
        return f"only {len(values)} of {items} items have it"
    if len({_hashable(value) for value in values}) < 2:
        return "all items have the same value"
    numbers = _numbers(values)
    if numbers:
        return _number_reason(numbers)
    texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
    return _text_reason([text for text in texts if isinstance(text, str)], items)


def _number_reason(numbers: Sequence[float]) -> str:
    distinct = set(numbers)
    if len(distinct) == len(numbers) and all(number == int(number) for number in distinct):
        if max(distinct) - min(distinct) < 2 * len(distinct):
            return "its values number the items"
        if min(distinct) >= _CODES_FROM:
            return "its values are codes"
    return ""


def _text_reason(texts: Sequence[str], items: int) -> str:
    counts = Counter(texts)
    if not texts:
        return ""
    if all(_DATE.fullmatch(text) for text in counts):
        return "its values are dates"
    if any(_ADDRESS.search(text) for text in counts):
        return "its values are addresses or paths"
    if sum(len(text.split()) > MAX_WORDS for text in texts) > len(texts) / 10:
        return f"its values have more than {MAX_WORDS} words"
    once = sum(count == 1 for count in counts.values())
    if len(counts) > max(MAX_DISTINCT * items, FEW_DISTINCT) or 2 * once > len(texts):
        return "nearly every item has a value of its own"
    return ""


def _numbers(values: Sequence[Value]) -> list[float]:
    """Returns the numbers of an attribute; [] if it is of another kind."""
    return [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]


def _hashable(value: Value) -> Any:
    return tuple(value) if isinstance(value, list) else value
