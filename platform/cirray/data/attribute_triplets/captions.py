"""Relative captions of a pair, by templates that are data and know nothing of any catalog."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import yaml

from cirray.data.attribute_triplets.pairs import Pair


@cache
def read_templates() -> Mapping[str, Sequence[str]]:
    """Returns kind of difference -> its wordings."""
    text = resources.files("cirray").joinpath("data", "attribute_triplets", "templates.yaml").read_text("utf-8")
    templates: dict[str, list[str]] = yaml.safe_load(text)
    return templates


def captions_of(pair: Pair, chance: random.Random, count: int = 2) -> list[str]:
    """Returns up to `count` different captions of a pair, each naming every difference, in random order."""
    found: dict[str, None] = {}
    for _ in range(4 * count):
        if len(found) < count:
            found[_caption(pair, chance)] = None
    return list(found)


def _caption(pair: Pair, chance: random.Random) -> str:
    differing = list(pair.differing)
    chance.shuffle(differing)
    parts = [_wording(name, pair, chance) for name in differing]
    text = parts[0]
    for part in parts[1:]:
        text = chance.choice(read_templates()["joined"]).format(a=text, b=part)
    return text


def _wording(name: str, pair: Pair, chance: random.Random) -> str:
    old, new = pair.reference.attributes[name], pair.target.attributes[name]
    kind, values = _kind(name, old, new)
    template = chance.choice(read_templates()[kind])
    return template.format(attribute=name.replace("_", " "), **values)


def _kind(name: str, old: Any, new: Any) -> tuple[str, dict[str, str]]:
    """Returns the kind of a difference, and what its wordings are filled with."""
    if isinstance(new, bool):
        return str(new).lower(), {}
    if isinstance(new, (int, float)) and isinstance(old, (int, float)):
        if "price" in name:
            return ("cheaper" if new < old else "more_expensive"), {}
        return ("lower" if new < old else "higher"), {}
    if not isinstance(new, list) and not isinstance(old, list):
        return "text", {"value": str(new), "old": str(old)}
    before, after = _texts(old), _texts(new)
    added, removed = [text for text in after if text not in before], [text for text in before if text not in after]
    if added and removed:
        return "text", {"value": " and ".join(added), "old": " and ".join(removed)}
    if added:
        return "added", {"value": " and ".join(added)}
    return "removed", {"old": " and ".join(removed)}


def _texts(value: Any) -> list[str]:
    return value if isinstance(value, list) else [str(value)]
