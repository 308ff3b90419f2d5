"""Attribute names and values as words."""

from __future__ import annotations

import re

from cirray.data.made_triplets.templates import read_templates


def spoken_name(name: str) -> str:
    """Returns an attribute's name as captions say it: has_logo is "logo", sleeveLength is "sleeve length"."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"[_-]+", " ", name)).lower().strip()
    return re.sub(r"^(is|has) (?=\w)", "", words)


def spoken_name_of_one(name: str) -> str:
    """Returns the name of a list attribute for one of its values: categories is "category", tags is "tag"."""
    words = spoken_name(name)
    return re.sub(r"(?<=[^s])s$", "", re.sub(r"ies$", "y", words))


def spoken_value(text: str) -> str:
    """Returns a value as captions say it: of a path, such as "Clothes > Dresses", the last part."""
    return text.rsplit(" > ", 1)[-1].replace("_", " ")


def is_price(name: str) -> bool:
    """Whether an attribute of this name is a price, if it is a number."""
    return bool(read_templates().price_words & set(spoken_name(name).split()))
