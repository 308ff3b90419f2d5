"""Translates `Filter` to Qdrant's filters, with the classes of either Qdrant Edge or the server's client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cirray.data.filters import Bounds, Condition, Filter
from cirray.index.items import NUMBER, PRODUCT, point_id


@dataclass(frozen=True, slots=True)
class FilterClasses:
    """The filter classes of `qdrant_edge` or `qdrant_client.models`; `value` and `any_of` build match conditions."""

    filter: Any
    field: Any
    range: Any
    has_id: Any
    value: Any
    any_of: Any


def translate(
    filter: Filter | None,
    classes: FilterClasses,
    without: Sequence[str] = (),
    products: Sequence[str] = (),
    only_main: bool = False,
) -> Any:
    """Returns Qdrant's filter for `filter`; None if there is no condition.

    Args:
        filter: conditions on attributes.
        classes: the filter classes of this Qdrant library.
        without: ids of items that are excluded.
        products: ids of products that are excluded.
        only_main: whether to exclude all pictures but the main one of each item.
    """
    must: list[Any] = []
    must_not: list[Any] = []
    left_out = [point_id(identifier) for identifier in (*without, *products)]
    if left_out:
        must_not.append(classes.has_id(left_out))
    if products:
        must_not.append(classes.field(key=PRODUCT, match=classes.any_of(list(products))))
    if only_main:
        must_not.append(classes.field(key=NUMBER, range=classes.range(gte=1)))
    for name, condition in (filter.root if filter else {}).items():
        wanted, unwanted = _conditions(f"attributes.{name}", condition, classes)
        must += wanted
        must_not += unwanted
    if not must and not must_not:
        return None
    return classes.filter(must=must or None, must_not=must_not or None)


def _conditions(key: str, condition: Condition, classes: FilterClasses) -> tuple[list[Any], list[Any]]:
    if not isinstance(condition, Bounds):
        return [_any_of(key, condition, classes)], []
    wanted = [classes.field(key=key, range=classes.range(**_tightest(condition)))] if condition.has_range else []
    unwanted = [] if condition.excluded is None else [_any_of(key, condition.excluded, classes)]
    return wanted, unwanted


def _tightest(bounds: Bounds) -> dict[str, Any]:
    """Reduces the bounds to one per side: Qdrant's payload indexes ignore the second."""
    gt, gte, lt, lte = bounds.gt, bounds.gte, bounds.lt, bounds.lte
    if gt is not None and gte is not None:
        gt, gte = (None, gte) if gte > gt else (gt, None)
    if lt is not None and lte is not None:
        lt, lte = (None, lte) if lte < lt else (lt, None)
    return {"gt": gt, "gte": gte, "lt": lt, "lte": lte}


def _any_of(key: str, condition: Any, classes: FilterClasses) -> Any:
    values = condition if isinstance(condition, list) else [condition]
    texts = [value for value in values if isinstance(value, str)]
    ways = [classes.field(key=key, match=classes.any_of(texts))] if texts else []
    ways += [_equals(key, value, classes) for value in values if not isinstance(value, str)]
    return ways[0] if len(ways) == 1 else classes.filter(should=ways)


def _equals(key: str, value: bool | int | float, classes: FilterClasses) -> Any:
    if isinstance(value, bool):
        return classes.field(key=key, match=classes.value(value))
    # A range, as Qdrant's match distinguishes 10 from 10.0.
    return classes.field(key=key, range=classes.range(gte=value, lte=value))
