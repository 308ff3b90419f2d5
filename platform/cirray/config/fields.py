"""Access to configuration fields by dotted name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic.fields import FieldInfo

from cirray.config.section import Configuration, Section


@dataclass(frozen=True, slots=True)
class FieldValue:
    """A configuration field: its dotted name, value and declaration."""

    name: str
    value: Any
    info: FieldInfo


def fields(section: Section, prefix: str = "") -> Iterator[FieldValue]:
    """Yields every field of a section and of its nested sections, depth first."""
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from fields(value, f"{prefix}{name}.")
        else:
            yield FieldValue(f"{prefix}{name}", value, info)


@cache
def field_names(root: type[Configuration]) -> tuple[str, ...]:
    """Returns the dotted names of all fields of a configuration."""
    return tuple(field.name for field in fields(root()))


@cache
def mapping_names(root: type[Configuration]) -> tuple[str, ...]:
    """Returns the fields of a configuration that map names of the user's own, such as catalog.columns."""
    return tuple(field.name for field in fields(root()) if isinstance(field.value, Mapping))


def is_mapped(dotted: str, root: type[Configuration]) -> bool:
    """Whether a dotted name is an entry of a mapping, such as catalog.columns.id."""
    return dotted.rpartition(".")[0] in mapping_names(root)


def is_section(dotted: str, root: type[Configuration]) -> bool:
    """Whether a dotted name is a section of a configuration."""
    return any(name.startswith(f"{dotted}.") for name in field_names(root))


def leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted name, value) of every value in nested mappings."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def put(settings: dict[str, Any], dotted: str, value: Any) -> None:
    """Sets a value in nested mappings by its dotted name."""
    *path, last = dotted.split(".")
    for part in path:
        settings = settings.setdefault(part, {})
    settings[last] = value


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `base` with the values of `changes`; nested mappings are merged recursively."""
    result = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if nested else value
    return result


def with_current_names(section: type[Section], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested settings with fields of older versions renamed to their current names."""
    result = {}
    for former, value in settings.items():
        name = section.former_names.get(former, former)
        inner = _section_of(section, name)
        result[name] = with_current_names(inner, value) if inner and isinstance(value, Mapping) else value
    return result


def _section_of(section: type[Section], name: str) -> type[Section] | None:
    info = section.model_fields.get(name)
    kind = info.annotation if info else None
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None
