"""The type of each column: text, number, true or false, list of texts.

The same content gets the same type in every file type. A value that does not fit its column costs that value, never
the item, and is reported once a column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from cirray.data.catalog.cells import Column, is_missing, is_no_value
from cirray.data.catalog.entry import Value
from cirray.data.catalog.prices import has_currency, parse_prices
from cirray.data.filters import MAX_NUMBER, MAX_TEXT

# Leading zeros, a plus sign, more than 15 digits, and an exponent without a decimal point mark codes: they stay text.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,14})")
_DECIMAL = re.compile(r"-?((0|[1-9][0-9]{0,14})\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BOOL = re.compile(r"true|false", re.IGNORECASE)
_LIST_SEPARATOR = "|"


def typed_column(name: str, cells: Sequence[Any], from_text: bool, decimal: str, separator: str = "") -> Column:
    """Gives a column its type.

    Args:
        cells: R raw cells; None = empty.
        from_text: cells are text whose type must be detected.
        decimal: "," or "." if it is known, else "auto": the column's own values decide.
        separator: splits texts into lists; "" = "|" where a cell has one.
    """
    filled = [cell for cell in cells if not is_missing(cell)]
    if not filled:
        return Column([None] * len(cells))
    if any(isinstance(cell, (list, tuple)) for cell in filled):
        return _lists(name, cells)
    if all(isinstance(cell, bool) for cell in filled):
        return Column([None if is_missing(cell) else cell for cell in cells])
    texts = [cell for cell in filled if isinstance(cell, str)]
    numbers = [cell for cell in filled if isinstance(cell, (int, float)) and not isinstance(cell, bool)]
    if len(numbers) + sum(is_no_value(text) for text in texts) == len(filled) and numbers:
        return _numbers(name, [cell if cell in numbers else None for cell in cells] if texts else list(cells))
    if texts and len(texts) == len(filled):
        return _texts(name, cells, from_text, decimal, separator)
    as_text = [None if is_missing(cell) else plain_text(cell) for cell in cells]
    column = _kept_texts(name, as_text)
    column.notes.insert(0, f"{name} holds numbers and text: it is text everywhere")
    return column


def _texts(name: str, cells: Sequence[Any], from_text: bool, decimal: str, separator: str) -> Column:
    """Types a column of texts only."""
    if from_text and not separator:
        converted = _same_type(cells)
        if converted is not None:
            return _numbers(name, converted)
    if not separator and (from_text or "price" in name.lower() or has_currency(cells)):
        prices = parse_prices(cells, decimal, needs_sign=not (from_text or "price" in name.lower()))
        if prices is not None:
            return prices
    if separator or any(isinstance(cell, str) and _LIST_SEPARATOR in cell.strip(" |") for cell in cells):
        split = separator or _LIST_SEPARATOR
        return _lists(name, [None if is_missing(cell) else str(cell).split(split) for cell in cells])
    return _kept_texts(name, [None if is_missing(cell) else str(cell) for cell in cells])


def _same_type(cells: Sequence[Any]) -> list[Any] | None:
    """Returns the cells as the first type that all of them look like; None if that is text."""
    filled = {cell for cell in cells if not is_missing(cell)}
    forms: tuple[tuple[Callable[[str], Any], Callable[[str], Any]], ...] = (
        (_BOOL.fullmatch, lambda cell: cell.lower() == "true"),
        (_INTEGER.fullmatch, int),
        (lambda cell: _INTEGER.fullmatch(cell) or _DECIMAL.fullmatch(cell), float),
    )
    for matches, convert in forms:
        values = {cell for cell in filled if matches(cell)}
        if values and all(cell in values or is_no_value(cell) for cell in filled):
            return [convert(cell) if cell in values else None for cell in cells]
    return None


def _numbers(name: str, values: Sequence[Any]) -> Column:
    """Checks that numbers are exact; integers that are not make the column text."""
    kept = [None if is_missing(value) else value for value in values]
    if any(isinstance(value, int) and abs(value) > MAX_NUMBER for value in kept):
        note = f"{name} has integers beyond {MAX_NUMBER}, which filters cannot compare exactly: it is text"
        return Column([None if value is None else str(value) for value in kept], [note])
    return Column(kept)


def plain_text(cell: Any) -> str:
    """Returns a single value as text: `true`, `false`, whole numbers without decimals."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def _lists(name: str, cells: Sequence[Any]) -> Column:
    """Makes a column of lists of texts; a single value is a list of one."""
    values: list[Value | None] = []
    unusable: list[Any] = []
    long = 0
    for cell in cells:
        if is_missing(cell):
            values.append(None)
            continue
        parts = cell if isinstance(cell, (list, tuple)) else [cell]
        unusable += [part for part in parts if isinstance(part, (dict, list, tuple))]
        texts = [
            plain_text(part).strip()
            for part in parts
            if not is_missing(part) and not isinstance(part, (dict, list, tuple))
        ]
        long += sum(len(text) > MAX_TEXT for text in texts)
        kept = list(dict.fromkeys(text for text in texts if text and len(text) <= MAX_TEXT))
        values.append(kept or None)
    notes = [f"{name} has nested values, such as {short(unusable[0])}, which are left out"] if unusable else []
    return Column(values, notes + _long_note(name, long, cells))


def _kept_texts(name: str, texts: Sequence[str | None]) -> Column:
    """Leaves out texts that are too long to filter by."""
    long = [text for text in texts if text is not None and len(text) > MAX_TEXT]
    values: list[Value | None] = [text if text is not None and len(text) <= MAX_TEXT else None for text in texts]
    return Column(values, _long_note(name, len(long), long))


def _long_note(name: str, count: int, examples: Sequence[Any]) -> list[str]:
    if not count:
        return []
    return [f"{name} has {count} values longer than {MAX_TEXT} characters, which are left out as filters"]


def short(value: Any) -> str:
    """Returns a value as text of at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
