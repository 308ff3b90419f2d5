"""Checks the attributes in requests against those of a generation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cirray.client import schemas
from cirray.data.filters import Bounds, Filter
from cirray.index.backend import Generation
from serve.errors import UnfitRequestError

_FILTER_TYPES = {"keyword": "text", "number": "a number", "bool": "true or false"}


def check_filter(filter: Filter, generation: Generation) -> None:
    """Refuses a filter that would match nothing, or be slow.

    Raises:
        UnfitRequestError: an attribute is unknown or has no payload index, or a value has the wrong type.
    """
    kinds = {attribute.name: attribute.kind for attribute in generation.attributes}
    for name, condition in filter.root.items():
        if name not in generation.indexed:
            known = ", ".join(sorted(generation.indexed)) or "none"
            raise UnfitRequestError(f"filter.{name}: items cannot be filtered by this attribute; there are: {known}")
        wrong = [value for value in _values(condition) if _kind(value) != kinds[name]]
        if wrong:
            raise UnfitRequestError(f"filter.{name}: the values are {_FILTER_TYPES[kinds[name]]}, not {wrong[0]!r}")


def check_attributes(items: Sequence[schemas.ItemPut], generation: Generation) -> None:
    """Refuses an item's attribute whose type differs from the catalog's, because filters would never match it.

    Raises:
        UnfitRequestError: names the item and the attribute.
    """
    kinds = {attribute.name: attribute.kind for attribute in generation.attributes}
    for item in items:
        for name, value in item.attributes.items():
            if kinds.get(name, _kind(value)) != _kind(value):
                raise UnfitRequestError(f"item {item.id!r}: {name} must be {_FILTER_TYPES[kinds[name]]}, not {value!r}")


def _values(condition: Any) -> list[Any]:
    """Returns the values in a condition."""
    if not isinstance(condition, Bounds):
        return condition if isinstance(condition, list) else [condition]
    excluded = condition.excluded
    bounds = [condition.gt, condition.gte, condition.lt, condition.lte]
    others = excluded if isinstance(excluded, list) else [excluded]
    return [value for value in [*bounds, *others] if value is not None]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, (int, float)) else "keyword"
