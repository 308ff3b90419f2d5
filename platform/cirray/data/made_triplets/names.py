"""Attribute names as words."""

from __future__ import annotations

import re

from cirray.data.made_triplets.templates import read_templates


def spoken_name(name: str) -> str:
    """Returns an attribute's name as captions say it: has_logo is "logo", sleeveLength is "sleeve length"."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"[_-]+", " ", name)).lower().strip()
    return re.sub(r"^(is|has) (?=\w)", "", words)


def is_price(name: str) -> bool:
    """Whether an attribute of this name is a price, if it is a number."""
    return bool(read_templates().price_words & set(spoken_name(name).split()))
