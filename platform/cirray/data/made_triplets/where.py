"""Selects the items of a catalog that have given attribute values."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from cirray.data.catalog import Entry
from cirray.data.catalog.entry import Value
from cirray.data.catalog.values import plain_text
from cirray.errors import ConfigError

_MOST_NAMED = 10


def select_items(entries: Sequence[Entry], where: Mapping[str, str]) -> list[Entry]:
    """Returns the items that match all conditions, in order.

    Args:
        where: attribute -> value. Values are compared as text; a list matches if it contains the value.

    Raises:
        ConfigError: no item has the attribute or the value, or none matches all conditions.
    """
    check_names(entries, where, "triplets.where")
    for name, value in where.items():
        _check_value(entries, name, value)
    found = [entry for entry in entries if all(_has(entry, name, value) for name, value in where.items())]
    if not found:
        conditions = " and ".join(f"{name} {value!r}" for name, value in where.items())
        raise ConfigError(f"triplets.where: no item has {conditions} together: leave out one condition")
    return found


def check_names(entries: Sequence[Entry], names: Iterable[str], field: str) -> None:
    """Raises ConfigError if no item has one of these attributes; `field` is the setting that names them."""
    known = sorted({name for entry in entries for name in entry.attributes})
    for name in names:
        if name not in known:
            raise ConfigError(f"{field}: no item has an attribute {name!r}. {_suggestion(name, known)}")


def _check_value(entries: Sequence[Entry], name: str, value: str) -> None:
    known = sorted({text for entry in entries for text in _texts(entry.attributes.get(name))})
    if value not in known:
        raise ConfigError(f"triplets.where: no item has {name} {value!r}. {_suggestion(value, known)}")


def _suggestion(wanted: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.6)
    more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    return (f"Did you mean {near[0]!r}? " if near else "") + f"There are: {', '.join(known[:_MOST_NAMED])}{more}"


def _has(entry: Entry, name: str, value: str) -> bool:
    return value in _texts(entry.attributes.get(name))


def _texts(value: Value | None) -> list[str]:
    """Returns a value as texts: those of a list, `true`, `false`, whole numbers without decimals; [] if absent."""
    if value is None:
        return []
    return [plain_text(part) for part in (value if isinstance(value, list) else [value])]
