"""From a table's rows to items: ids, pictures, titles, attributes, and the rows that belong to one item."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath, PurePosixPath
from typing import Any

from cirray.data.attributes import MAX_ID
from cirray.data.catalog.columns import ColumnMap, attribute_name, cell
from cirray.data.catalog.entry import Entry, Value, WebPicture
from cirray.data.catalog.table import Table
from cirray.data.catalog.values import Column, short, typed_column
from cirray.data.parsing import Source, leaves_root
from cirray.data.records import Problem
from cirray.storage.tree import File

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_WEB = re.compile(r"https?://", re.IGNORECASE)
_SEPARATORS = ("|", ",", ";", "\n")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{2,5}$")


def typed_attributes(table: Table, columns: ColumnMap, decimal: str) -> tuple[dict[str, list[Value | None]], list[str]]:
    """Returns attribute -> R values, and notes on detected formats and omitted values, one for each column."""
    typed: dict[str, Column] = {}
    raw = {name: table.columns[column] for name, column in columns.attributes.items()}
    raw |= _named_attributes(table, columns)
    for name, cells in raw.items():
        typed[name] = typed_column(name, cells, table.from_text, decimal, columns.separators.get(name, ""))
    attributes = {name: column.values for name, column in typed.items()}
    attributes |= _currencies(typed)
    notes = [
        note if note.startswith(name) else f"{name}: {note}" for name, column in typed.items() for note in column.notes
    ]
    return {name: values for name, values in attributes.items() if any(value is not None for value in values)}, notes


def _named_attributes(table: Table, columns: ColumnMap) -> dict[str, list[Any]]:
    """Returns the attributes whose names are cells too, such as Option1 Name = Size, Option1 Value = M."""
    found: dict[str, list[Any]] = {}
    for named, valued in columns.named:
        current = ""
        for row, (name, value) in enumerate(zip(table.columns[named], table.columns[valued], strict=True)):
            current = attribute_name(str(name).strip().lower()) if name else current
            if not current or value is None or current in columns.attributes or str(value) == "Default Title":
                continue
            cells = found.setdefault(current, [None] * len(table.places))
            cells[row] = value
            if columns.named_separator and isinstance(value, str) and columns.named_separator in value:
                cells[row] = [part.strip() for part in value.split(columns.named_separator)]
    return found


def _currencies(typed: Mapping[str, Column]) -> dict[str, list[Value | None]]:
    """Returns one attribute `currency` where all prices of a row agree, else one for each column of prices."""
    priced = {
        name: column.currencies for name, column in typed.items() if column.currencies and "currency" not in typed
    }
    agree = all(len({code for code in row if code}) <= 1 for row in zip(*priced.values(), strict=True))
    if agree and priced:
        rows = zip(*priced.values(), strict=True)
        return {"currency": [next((code for code in row if code), None) for row in rows]}
    return {f"{name}_currency": list(codes) for name, codes in priced.items()}


def read_items(
    table: Table, columns: ColumnMap, attributes: Mapping[str, Sequence[Value | None]], source: Source
) -> tuple[list[Entry], list[Problem]]:
    """Makes items of rows.

    A row without a picture, or without the title that the rows of its product have, belongs to the item before with the
    same id: its pictures and attribute values are added to that item.

    Returns:
        The usable items in order, and one problem for each row that cannot be used.
    """
    entries: dict[str, Entry] = {}
    problems: list[Problem] = []
    bad: set[str] = set()
    last = ""
    for number, (place, row) in enumerate(table.rows()):
        values = {name: value for name, cells in attributes.items() if (value := cells[number]) is not None}
        item = _Row(row, columns, values, place, source)
        identifier = item.identifier or (last if not item.has_own_name else None)
        if identifier in entries and item.continues(entries[identifier]):
            wrong = item.wrong(own=False)
            if not wrong:
                entries[identifier] = _joined(entries[identifier], item)
        else:
            wrong = item.wrong(own=True)
            if item.identifier in entries or item.identifier in bad:
                first = entries[item.identifier].where if item.identifier in entries else "before"
                wrong.append(f"id {item.identifier!r} is there twice, first at {first}")
            if not wrong and item.identifier:
                entries[item.identifier] = item.entry()
                last = item.identifier
        if wrong:
            problems.append(Problem(place, "; ".join(wrong)))
            bad |= {item.identifier} - {None, *entries}  # type: ignore[arg-type]
    return list(entries.values()), problems


class _Row:
    """One row, and what is wrong with it."""

    def __init__(
        self, row: Mapping[str, Any], columns: ColumnMap, values: dict[str, Value], place: str, source: Source
    ) -> None:
        self.values = values
        self.place = place
        self._problems: list[str] = []
        raw = cell(row, columns.id)
        self.identifier = self._id(raw)
        self.title = self._title(cell(row, columns.title))
        self.group = str(cell(row, columns.group) or "").removeprefix("id:")
        self.has_own_name = raw is not None
        self.images: list[File | WebPicture] = []
        self.names_image = any(row[column] not in (None, "", []) for column in columns.image)
        for column in columns.image:
            self._add_images(row[column], source)

    def continues(self, first: Entry) -> bool:
        """Whether the row belongs to the item that has its id already."""
        return not self.names_image or (bool(first.title) and not self.title)

    def wrong(self, own: bool) -> list[str]:
        """Returns what is wrong with the row; `own`: it has to be an item by itself."""
        problems = list(self._problems)
        if own and self.identifier is None and not any(problem.startswith("id ") for problem in problems):
            problems.insert(0, "id is missing")
        if own and not self.images and not any(problem.startswith("image ") for problem in problems):
            problems.append("image is missing")
        if not _is_unicode([self.identifier, self.title, self.values, [str(image) for image in self.images]]):
            problems.append("has text that is not Unicode (an unpaired surrogate): correct its encoding")
        return problems

    def entry(self) -> Entry:
        """Returns the item of a row without problems."""
        return Entry(self.identifier or "", tuple(self.images), self.title, self.values, self.place, self.group)

    def _id(self, value: Any) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            self._problems.append(f"id must be a non-empty string, not {_json(value)}")
            return None
        if len(value) > MAX_ID:
            self._problems.append(f"id has {len(value)} characters, more than {MAX_ID}")
            return None
        if _CONTROL.search(value):
            self._problems.append(f"id {value!r} has control characters: remove them")
            return None
        return value

    def _title(self, value: Any) -> str:
        if value is None or isinstance(value, str):
            return (value or "").strip()
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
        self._problems.append(f"title must be text, not {_json(value)}")
        return ""

    def _add_images(self, value: Any, source: Source) -> None:
        for path in image_paths(value):
            if not isinstance(path, str) or not path.strip():
                self._problems.append(f"image must be a non-empty string, not {_json(path)}")
            elif _WEB.match(path):
                self.images.append(WebPicture(path.strip()))
            else:
                self._add_file(path.strip(), source)

    def _add_file(self, path: str, source: Source) -> None:
        if leaves_root(path):
            self._problems.append(f"image {path!r} must be a path inside the catalog's folder, relative to it")
            return
        if "\\" in path and not source.tree.exists(source.root / path):
            path = path.replace("\\", "/")
        picture = source.tree.file(source.root / path)
        if picture not in self.images:
            self.images.append(picture)


def image_paths(value: Any) -> list[Any]:
    """Returns the pictures that a cell names: a list, or a text with separators between whole paths or addresses."""
    if value in (None, "", []):
        return []
    if isinstance(value, (list, tuple)):
        return list(value)
    if not isinstance(value, str):
        return [value]
    for separator in _SEPARATORS:
        parts = [part.strip() for part in value.split(separator) if part.strip()]
        if len(parts) > 1 and all(_is_picture_name(part) for part in parts):
            return parts
    return [value]


def _is_picture_name(text: str) -> bool:
    if _WEB.match(text):
        return True
    return bool(_SUFFIX.search(PurePosixPath(text.replace("\\", "/")).name)) and not PurePath(text).is_absolute()


def _joined(entry: Entry, row: _Row) -> Entry:
    """Adds a further row of a product: new pictures, and the values that differ."""
    images = dict.fromkeys([*entry.images, *row.images])
    attributes = dict(entry.attributes)
    for name, value in row.values.items():
        attributes[name] = _both(attributes[name], value) if name in attributes else value
    return Entry(entry.id, tuple(images), entry.title, attributes, entry.where, entry.group)


def _both(one: Value, other: Value) -> Value:
    """Returns the values of two variants as one: all texts, the lowest number, true if one is."""
    if isinstance(one, bool) or isinstance(other, bool):
        return bool(one or other)
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return min(one, other)
    texts = [*_texts(one), *_texts(other)]
    unique = list(dict.fromkeys(texts))
    return unique if len(unique) > 1 or isinstance(one, list) else unique[0]


def _texts(value: Value) -> list[str]:
    return value if isinstance(value, list) else [str(value)]


def _is_unicode(values: list[Any]) -> bool:
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)[:60]
    except (TypeError, ValueError):
        return short(value)
