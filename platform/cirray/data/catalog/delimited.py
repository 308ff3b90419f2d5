"""Delimited text files (CSV, TSV): finds out encoding, delimiter and quote character, and reads the rows.

The detected dialect is reported and can be set (`catalog.encoding`, `catalog.delimiter`, `catalog.quote`).
"""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from dataclasses import dataclass
from io import StringIO

from cirray.config.catalog import CatalogSettings
from cirray.data.catalog.table import Table
from cirray.data.records import Problem
from cirray.errors import DataError

DELIMITERS = (",", ";", "\t", "|")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like UTF-16's: asked first
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Number of rows in which the delimiter is detected.
_SAMPLE_ROWS = 100
# Cells may be longer than the csv module's 128 KiB; a file is read as a whole anyway.
_MAX_CELL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a delimited file is written."""

    delimiter: str
    quote: str


def read_delimited(content: bytes, name: str, where: str, settings: CatalogSettings) -> tuple[Table, list[Problem]]:
    """Reads a file whose first line names the columns.

    Args:
        content: the file's bytes.
        name: the file's name in positions, "name:line".
        where: the file's path or URI, for errors about the whole file.

    Returns:
        The table, and a problem for each row with another number of cells than there are columns.

    Raises:
        DataError: the file is empty, not text, or has an unclosed quote.
    """
    text, encoding = decode(content, where, settings.encoding)
    dialect = find_dialect(text, settings)
    rows = _rows(text, where, dialect)
    if not rows:
        raise DataError(f"{where} is empty: its first line names the columns, such as id,image,title,colour")
    _, header = rows[0]
    columns: dict[str, list[str | None]] = {column: [] for column in header if column}
    twice = [column for column, count in Counter(header).items() if column and count > 1]
    if twice:
        raise DataError(f"{where} has several columns {', '.join(map(repr, twice))}: give each its own name")
    places, problems = [], []
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            delimiter = _NAMES.get(dialect.delimiter, dialect.delimiter).removesuffix("s")
            what = f"has {len(cells)} cells, not {len(header)}: put cells with a {delimiter} in double quotes"
            problems.append(Problem(f"{name}:{line}", what))
            continue
        places.append(f"{name}:{line}")
        for column, cell in zip(header, cells, strict=True):
            if column:
                columns[column].append(cell or None)
    notes = [f"encoding {encoding}"] if encoding not in ("utf-8", "utf-8-sig") else []
    notes += [f"separated by {_NAMES[dialect.delimiter]}"] if dialect.delimiter in _NAMES else []
    return Table(dict(columns), places, from_text=True, notes=notes), problems


def decode(content: bytes, name: str, encoding: str) -> tuple[str, str]:
    """Returns a file's text and its encoding.

    Args:
        encoding: a codec's name, or "auto": a byte order mark decides, else UTF-8 if it fits, else Windows-1252.
    """
    if encoding == "auto":
        marked = next((codec for mark, codec in _BYTE_ORDER_MARKS if content.startswith(mark)), None)
        candidates = [marked] if marked else ["utf-8", "cp1252", "latin-1"]
    else:
        candidates = [encoding]
    if b"\0" in content and candidates[0] == "utf-8":
        raise DataError(f"{name} is not a text file: it holds NUL bytes")
    for candidate in candidates:
        try:
            return content.decode(candidate), candidate
        except UnicodeDecodeError as error:
            problem = f"{error.reason} at byte {error.start}"
    raise DataError(f"{name} cannot be read as {candidates[-1]} ({problem}): set catalog.encoding")


def find_dialect(text: str, settings: CatalogSettings) -> Dialect:
    """Returns the delimiter and quote character that split the first rows most evenly."""
    quotes = ['"', "'"] if settings.quote == "auto" else [settings.quote]
    delimiters = DELIMITERS if settings.delimiter == "auto" else (settings.delimiter,)
    candidates = [Dialect(delimiter, quote) for quote in quotes for delimiter in delimiters]
    if len(candidates) == 1:
        return candidates[0]
    return max(candidates, key=lambda dialect: _evenness(text, dialect))


def _evenness(text: str, dialect: Dialect) -> tuple[float, int]:
    """Scores a dialect by (share of rows as wide as the header, columns); files of one column score 0."""
    widths: list[int] = []
    try:
        for cells in _reader(text, dialect):
            if any(cells):
                widths.append(len(cells))
            if len(widths) == _SAMPLE_ROWS:
                break
    except csv.Error:
        pass
    if not widths or widths[0] == 1:
        return 0.0, 0
    return sum(width == widths[0] for width in widths) / len(widths), widths[0]


def _reader(text: str, dialect: Dialect) -> csv._reader:  # type: ignore[name-defined]
    csv.field_size_limit(_MAX_CELL)
    return csv.reader(StringIO(text, newline=""), strict=True, delimiter=dialect.delimiter, quotechar=dialect.quote)


def _rows(text: str, name: str, dialect: Dialect) -> list[tuple[int, list[str]]]:
    """Returns (line, cells) of each row that is not blank; a row may span several lines, and the first one counts."""
    rows: list[tuple[int, list[str]]] = []
    line = 1
    reader = _reader(text, dialect)
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):  # spreadsheets write their empty rows as well
                rows.append((line, stripped))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{name}:{line}: cannot be read as delimited text ({error})") from None
    return rows
