"""Reads a catalog or product feed: a folder, JSON Lines, CSV, TSV or Parquet, here or at a URI."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cirray.config.catalog import CatalogSettings
from cirray.data.attributes import Attribute
from cirray.data.catalog.columns import ColumnMap, map_columns
from cirray.data.catalog.delimited import read_delimited
from cirray.data.catalog.entry import Catalog, Entry, Value
from cirray.data.catalog.files import read_folder, read_json_lines, read_parquet
from cirray.data.catalog.products import read_items, typed_attributes
from cirray.data.catalog.table import Table
from cirray.data.formats.triplets import CATALOG
from cirray.data.parsing import Source
from cirray.data.records import Problem
from cirray.errors import DataError
from cirray.storage.location import Location

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
EXPECTED = f"a folder of pictures, or a file that ends in {', '.join(SUFFIXES)}"
MAX_VALUES_SHOWN = 50


def read_catalog(catalog: Path | str, settings: CatalogSettings | None = None) -> Catalog:
    """Reads a catalog. Picture files are not opened.

    Raises:
        DataError: the catalog is missing, not readable as a whole, or empty.
        ConfigError: `catalog.columns` names a column that is not there.
        LocationError: its URI holds nothing, or cannot be reached.
    """
    settings = settings or CatalogSettings()
    location = Location.parse(catalog)
    source, file = _remote(str(location)) if location.is_remote else _local(location.local)
    table, problems = _table(source, file, settings)
    where = source.tree.where(file)
    if not table.places and not problems:
        raise DataError(f"{where} has no entry: write one for each picture, with its id and its image")
    columns = map_columns(table, where, settings) if table.columns else ColumnMap([], [], [], [], {})
    attributes, notes = typed_attributes(table, columns, settings.decimal)
    entries, wrong = read_items(table, columns, attributes, source)
    in_order = sorted([*problems, *wrong], key=_row_number)
    return Catalog(entries, in_order, _notes(table, columns, notes))


def describe_attributes(entries: Iterable[Entry]) -> list[Attribute]:
    """Returns what can be filtered by, sorted by name: the most frequent 50 values, or the range of numbers."""
    values: dict[str, list[Value]] = defaultdict(list)
    for entry in entries:
        for name, value in entry.attributes.items():
            values[name] += value if isinstance(value, list) else [value]
    return [_description(name, values[name]) for name in sorted(values)]


def _table(source: Source, file: Path, settings: CatalogSettings) -> tuple[Table, list[Problem]]:
    """Returns the rows of the file, and the ones that cannot be read."""
    if file == source.root:
        return read_folder(source), source.problems
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        return read_parquet(source, file), source.problems
    if suffix in (".jsonl", ".ndjson"):
        return read_json_lines(source, file), source.problems
    try:
        content = source.tree.local(file).read_bytes()
    except OSError as error:
        raise DataError(f"{source.tree.where(file)} cannot be read: {error.strerror}") from None
    return read_delimited(content, source.name(file), source.tree.where(file), settings)


def _row_number(problem: Problem) -> int:
    """Returns the number of the row of a problem; 0 for pictures of a folder."""
    number = re.search(r"(?::| row )(\d+)$", problem.where)
    return int(number[1]) if number else 0


def _notes(table: Table, columns: ColumnMap, notes: Sequence[str]) -> list[str]:
    """Joins what concerns the whole file into one line; the rest stays one line a column."""
    decimal = sorted({note.split(":")[0] for note in notes if note.endswith(": decimal comma")})
    head = [*table.notes, *([f"decimal comma in {', '.join(decimal)}"] if decimal else [])]
    rest = [note for note in notes if not note.endswith(": decimal comma")]
    return [*(["; ".join(head)] if head else []), *columns.notes, *rest]


def _remote(uri: str) -> tuple[Source, Path]:
    """Returns the files at a URI, and the one of them (or the folder) that is to be read."""
    folder, _, name = uri.rpartition("/")
    if not name.lower().endswith(SUFFIXES):
        source = Source(Location.parse(uri))
        file = source.root / CATALOG
        return source, file if source.tree.exists(file) else source.root
    source = Source(Location.parse(folder))
    if not source.tree.exists(source.root / name):
        raise DataError(f"{uri} does not exist: a catalog is {EXPECTED}")
    return source, source.root / name


def _local(path: Path) -> tuple[Source, Path]:
    """Returns the files of a folder, and the one of them (or the folder) that is to be read."""
    try:
        if not path.exists():
            raise DataError(f"{path} does not exist: a catalog is {EXPECTED}")
        file = path / CATALOG if (path / CATALOG).is_file() else path
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if not file.is_dir() and file.suffix.lower() not in SUFFIXES:
        raise DataError(f"{file} is no catalog: a catalog is {EXPECTED}")
    return Source(Location.parse(file if file.is_dir() else file.parent)), file


def _description(name: str, values: Sequence[Any]) -> Attribute:
    kind = _kind(values[0])
    if kind == "number":
        return Attribute(name=name, kind=kind, minimum=min(values), maximum=max(values))
    counts = sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))
    return Attribute(name=name, kind=kind, values=counts[:MAX_VALUES_SHOWN])


def _kind(value: Value) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, (int, float)) else "keyword"
