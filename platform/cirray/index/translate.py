"""Our filters in Qdrant's types. The embedded engine and the client name the same things in classes of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cirray.data.filters import Bounds, Condition, Filter
from cirray.index.items import point_id


@dataclass(frozen=True, slots=True)
class FilterTypes:
    """Qdrant's classes: `qdrant_edge` or `qdrant_client.models`; `value` and `any_of` make their matches."""

    filter: Any
    field: Any
    range: Any
    has_id: Any
    value: Any
    any_of: Any


def translate(filter: Filter | None, without: str | None, types: FilterTypes) -> Any:
    """Returns Qdrant's filter for ours, leaving out one item; None when nothing is asked."""
    must: list[Any] = []
    must_not: list[Any] = [types.has_id([point_id(without)])] if without is not None else []
    for name, condition in (filter.root if filter else {}).items():
        wanted, unwanted = _conditions(f"attributes.{name}", condition, types)
        must += wanted
        must_not += unwanted
    if not must and not must_not:
        return None
    return types.filter(must=must or None, must_not=must_not or None)


def _conditions(key: str, condition: Condition, types: FilterTypes) -> tuple[list[Any], list[Any]]:
    if not isinstance(condition, Bounds):
        return [_any_of(key, condition, types)], []
    wanted = [types.field(key=key, range=types.range(**_tightest(condition)))] if condition.has_range else []
    unwanted = [] if condition.excluded is None else [_any_of(key, condition.excluded, types)]
    return wanted, unwanted


def _tightest(bounds: Bounds) -> dict[str, Any]:
    """Qdrant's payload indexes look at one bound a side only."""
    gt, gte, lt, lte = bounds.gt, bounds.gte, bounds.lt, bounds.lte
    if gt is not None and gte is not None:
        gt, gte = (None, gte) if gte > gt else (gt, None)
    if lt is not None and lte is not None:
        lt, lte = (None, lte) if lte < lt else (lt, None)
    return {"gt": gt, "gte": gte, "lt": lt, "lte": lte}


def _any_of(key: str, condition: Any, types: FilterTypes) -> Any:
    values = condition if isinstance(condition, list) else [condition]
    texts = [value for value in values if isinstance(value, str)]
    ways = [types.field(key=key, match=types.any_of(texts))] if texts else []
    ways += [_equals(key, value, types) for value in values if not isinstance(value, str)]
    return ways[0] if len(ways) == 1 else types.filter(should=ways)


def _equals(key: str, value: bool | int | float, types: FilterTypes) -> Any:
    if isinstance(value, bool):
        return types.field(key=key, match=types.value(value))
    # A number equals 10 whether it was stored as 10 or as 10.0; Qdrant's match does not think so.
    return types.field(key=key, range=types.range(gte=value, lte=value))
