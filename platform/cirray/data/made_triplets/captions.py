"""Relative captions of a pair, by templates."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from cirray.data.catalog import Entry
from cirray.data.catalog.entry import Value
from cirray.data.made_triplets.names import is_price, spoken_name, spoken_name_of_one, spoken_value
from cirray.data.made_triplets.pair import Change, Pair
from cirray.data.made_triplets.templates import read_templates

_TRIES = 8
_FIELD = re.compile(r"{(\w+)}")
_WORD = re.compile(r"[^\W\d_]{2}")  # two letters in a row: what "12" and "M" lack


def shared_values(entries: Iterable[Entry], names: Sequence[str]) -> frozenset[str]:
    """Returns the texts that are values of several attributes: a caption needs the attribute's name to tell which."""
    owners: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        for name in names:
            for text in _texts(entry.attributes.get(name)):
                owners[text].add(name)
    return frozenset(text for text, found in owners.items() if len(found) > 1)


def captions_of(
    pair: Pair, chance: random.Random, count: int = 2, shared: Collection[str] = (), titles: bool = False
) -> list[str]:
    """Returns up to `count` different captions of a pair. Each names every change, in random order.

    Args:
        shared: values that are never used without the attribute's name (`shared_values`).
        titles: whether a caption of attribute changes may be the target's title instead, with the share that the
            templates set.
    """
    found: dict[str, None] = {}
    for _ in range(_TRIES * count):
        if len(found) < count:
            caption = _title(pair, chance) if titles else ""
            found[caption or _caption(pair, shared, chance)] = None
    return list(found)


def _title(pair: Pair, chance: random.Random) -> str:
    """Returns the target's title with the share of the templates, else ""."""
    templates = read_templates().title
    title = " ".join(pair.target.title.split())
    fits = 1 < len(title.split()) <= templates.max_words and not any(change.in_title for change in pair.changes)
    return chance.choice(templates.wordings).format(title=title) if fits and chance.random() < templates.share else ""


def _caption(pair: Pair, shared: Collection[str], chance: random.Random) -> str:
    changes = chance.sample(pair.changes, len(pair.changes))
    text, *parts = dict.fromkeys(_wording(change, shared, chance) for change in changes)
    for part in parts:
        text = chance.choice(read_templates().joined).format(a=text, b=part)
    return text


def _wording(change: Change, shared: Collection[str], chance: random.Random) -> str:
    kind, values = _kind(change)
    needs_name = any(text in shared or not _WORD.search(text) for texts in values.values() for text in texts)
    known = {*values} if change.in_title else {*values, "attribute"}
    wordings = [
        wording
        for wording in getattr(read_templates(), kind)
        if known.issuperset(_FIELD.findall(wording))
        if change.in_title or not needs_name or "attribute" in _FIELD.findall(wording)
    ]
    is_one_of_list = kind == "text" and (isinstance(change.new, list) or isinstance(change.old, list))
    name = spoken_name_of_one(change.attribute) if is_one_of_list else spoken_name(change.attribute)
    return chance.choice(wordings).format(attribute=name, **_spoken(values))


def _spoken(values: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Returns the values as captions say them; whole paths if their last parts are the same."""
    spoken = {key: [spoken_value(text) for text in texts] for key, texts in values.items()}
    if spoken.get("value") == spoken.get("old"):
        spoken = {key: [text.replace(" > ", " ").replace("_", " ") for text in texts] for key, texts in values.items()}
    return {key: " and ".join(texts) for key, texts in spoken.items()}


def _kind(change: Change) -> tuple[str, dict[str, list[str]]]:
    """Returns the kind of a change, which is a field of the templates, and the values for its wordings."""
    old, new = change.old, change.new
    if isinstance(new, bool):
        return ("present" if new else "absent"), {}
    if isinstance(new, (int, float)) and isinstance(old, (int, float)):
        if is_price(change.attribute):
            return ("cheaper" if new < old else "more_expensive"), {}
        return ("lower" if new < old else "higher"), {}
    if isinstance(new, str) and not change.in_title:
        if _means_nothing(new):
            return "absent", {}
        return "text", {"value": [new]} if _means_nothing(old) else {"value": [new], "old": _texts(old)}
    before, after = _texts(old), _texts(new)
    added, removed = [text for text in after if text not in before], [text for text in before if text not in after]
    values = {key: texts for key, texts in {"value": added, "old": removed}.items() if texts}
    if len(values) == 2:
        return ("words" if change.in_title else "text"), values
    return ("added" if added else "removed"), values


def _means_nothing(value: Value) -> bool:
    return isinstance(value, str) and value.strip().lower() in read_templates().nothing


def _texts(value: Value | None) -> list[str]:
    """Returns the texts of a value: one, or those of a list; [] for "", numbers and absent values."""
    texts: list[Any] = value if isinstance(value, list) else [value]
    return [text for text in texts if isinstance(text, str) and text]
