"""The catalog that is to be indexed: ids, picture files, titles and attributes.

    a folder            every picture below it; "folder" is the attribute; a catalog.jsonl inside is read instead
    .jsonl              {"id": str, "image": path relative to the file, "title": str (optional), attribute: value, ...}
    .csv, .parquet      the same as columns

An attribute is a text, a number, true or false, or a list of texts; null and empty values are absent. A position
is "file:line"; in Parquet files "file row i", counted from 0; in folders the picture's path. Picture files are not
opened. A catalog may be at a URI: its pictures are then named by their URIs.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from cirray.data.attributes import MAX_ID, Attribute
from cirray.data.filters import ATTRIBUTE, MAX_NUMBER, MAX_TEXT
from cirray.data.formats.triplets import CATALOG
from cirray.data.images import picture_suffixes
from cirray.data.parsing import Record, Source, leaves_root
from cirray.data.records import Problem
from cirray.errors import DataError
from cirray.storage.location import Location
from cirray.storage.tree import File

Value = str | int | float | bool | list[str]

EXPECTED = "a folder of pictures, or a file that ends in .jsonl, .csv or .parquet"
MAX_VALUES_SHOWN = 50
_REQUIRED = ("id", "image")
_RESERVED = (*_REQUIRED, "title")
_KINDS = {"keyword": "text", "number": "a number", "bool": "true or false"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Leading zeros, a plus sign and more than 15 digits mark codes, such as article numbers: they stay text.
_LOOKS_LIKE: tuple[tuple[re.Pattern[str], Callable[[str], Value]], ...] = (
    (re.compile(r"-?(0|[1-9][0-9]{0,14})"), int),
    (re.compile(r"-?((0|[1-9][0-9]{0,14})(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"), float),
    (re.compile(r"true|false", re.IGNORECASE), lambda cell: cell.lower() == "true"),
)
_SCALARS = (
    pa.types.is_null,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_date,
)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a catalog that can be indexed, if its picture can be read.

    Attributes:
        id: 1 to 512 characters, unique.
        image: the picture file: its absolute path, or its URI.
        title: what people read, "" if there is none.
        attributes: name -> value; a name has values of one kind in the whole catalog.
        where: the entry's position in the catalog.
    """

    id: str
    image: File
    title: str
    attributes: dict[str, Value]
    where: str


def read_catalog(catalog: Path | str) -> tuple[list[Entry], list[Problem]]:
    """Reads a catalog: a file or a folder, on this machine or at a URI.

    A text of more than 200 characters is no attribute, as nobody filters by it: it is left out, and the entry stays.

    Returns:
        (entries, problems): the usable entries in the catalog's order; one problem for each other entry, and one for
        each key or column that cannot be an attribute and is left out of all entries.

    Raises:
        DataError: the catalog is missing, not readable as a whole, or empty.
        LocationError: its URI holds nothing, or cannot be reached.
    """
    location = Location.parse(catalog)
    source, file = _remote(str(location)) if location.is_remote else _local(location.local)
    entries: list[Entry] = []
    positions: dict[str, str] = {}
    misnamed: dict[str, Problem] = {}
    for record in _records(source, file):
        before = len(source.problems)
        entry = _entry(record, source, positions, misnamed)
        if noted := source.problems[before:]:
            source.problems[before:] = [Problem(record.where, "; ".join(problem.what for problem in noted))]
        elif entry is not None:
            entries.append(entry)
    if not entries and not source.problems:
        where = source.tree.where(file)
        raise DataError(f"{where} has no entry: write one for each picture, with its id and its image")
    entries, mixed = _of_one_kind(entries)
    return entries, [*misnamed.values(), *source.problems, *mixed]


def describe_attributes(entries: Iterable[Entry]) -> list[Attribute]:
    """Returns what can be filtered by, sorted by name: the most frequent 50 values, or the range of numbers."""
    values: dict[str, list[Value]] = defaultdict(list)
    for entry in entries:
        for name, value in entry.attributes.items():
            values[name] += value if isinstance(value, list) else [value]
    return [_description(name, values[name]) for name in sorted(values)]


def _description(name: str, values: Sequence[Any]) -> Attribute:
    kind = _kind(values[0])
    if kind == "number":
        return Attribute(name=name, kind=kind, minimum=min(values), maximum=max(values))
    counts = sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))
    return Attribute(name=name, kind=kind, values=counts[:MAX_VALUES_SHOWN])


def _remote(uri: str) -> tuple[Source, Path]:
    """Returns the files at a URI, and the one of them (or the folder) that is to be read."""
    folder, _, name = uri.rpartition("/")
    if not name.lower().endswith(tuple(_READERS)):
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
    if not file.is_dir() and file.suffix.lower() not in _READERS:
        raise DataError(f"{file} is no catalog: a catalog is {EXPECTED}")
    return Source(Location.parse(file if file.is_dir() else file.parent)), file


def _records(source: Source, file: Path) -> Iterator[Record]:
    return _folder(source) if file == source.root else _READERS[file.suffix.lower()](source, file)


def _folder(source: Source) -> Iterator[Record]:
    suffixes = picture_suffixes()
    try:
        names = sorted(
            path.relative_to(source.root).as_posix() for path in source.tree.files() if path.suffix.lower() in suffixes
        )
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from None
    if not names:
        where = source.tree.where(source.root)
        raise DataError(f"{where} has no picture below it ({', '.join(sorted(suffixes))}), and no {CATALOG}")
    stems = [name.removesuffix(PurePosixPath(name).suffix) for name in names]
    taken = Counter([*names, *stems])
    for name, stem in zip(names, stems, strict=True):
        values = {"id": stem if taken[stem] == 1 else name, "image": name}
        if "/" in name:
            values["folder"] = name.split("/")[0]
        where = name.encode(errors="backslashreplace").decode()  # a name need not be UTF-8, and this one is printed
        yield Record(where, values, source.problems)


def _json_lines(source: Source, file: Path) -> Iterator[Record]:
    yield from source.lines(file)
    if source.fatal:
        root = source.tree.where(source.root)
        raise DataError("\n".join(f"{root}/{problem}" for problem in source.fatal))


def _csv(source: Source, file: Path) -> Iterator[Record]:
    rows = _csv_rows(source, file)
    if not rows:
        raise DataError(
            f"{source.tree.where(file)} is empty: its first line names the columns, such as id,image,title,colour"
        )
    _, names = rows[0]
    _check_columns(source, file, names)
    positions, complete = [], []
    for line, cells in rows[1:]:
        where = f"{source.name(file)}:{line}"
        if len(cells) == len(names):
            positions.append(where)
            complete.append(cells)
        else:
            source.note(where, f"has {len(cells)} cells, not {len(names)}: put cells with a comma in double quotes")
    columns = [_typed(name, [cells[i] for cells in complete]) for i, name in enumerate(names)]
    for where, values in zip(positions, zip(*columns, strict=True), strict=True):
        yield Record(where, dict(zip(names, values, strict=True)), source.problems)


def _csv_rows(source: Source, file: Path) -> list[tuple[int, list[str]]]:
    """Returns (line, cells) of each row that is not blank; a row may have several lines, and the first counts."""
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        with source.tree.local(file).open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            for cells in reader:
                stripped = [cell.strip() for cell in cells]
                if any(stripped):  # spreadsheets write their empty rows as well
                    rows.append((line, stripped))
                line = reader.line_num + 1
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        where = source.tree.where(file)
        raise DataError(f"{where}:{line}: cannot be read as UTF-8 text separated by commas ({error})") from None
    return rows


def _typed(name: str, cells: Sequence[str]) -> list[Value | None]:
    """Returns a column's cells in the first type that all of them look like; an empty cell is None."""
    filled = {cell for cell in cells if cell}
    types = () if name in _RESERVED else _LOOKS_LIKE
    convert = next((convert for form, convert in types if all(map(form.fullmatch, filled))), str)
    return [convert(cell) if cell else None for cell in cells]


def _parquet(source: Source, file: Path) -> Iterator[Record]:
    where = source.name(file)
    columns: list[tuple[str, list[Any]]] = []
    try:
        table = parquet.ParquetFile(source.tree.local(file)).read()
        for name, column in zip(table.column_names, table.columns, strict=True):
            readable = _readable(column)
            if readable is None:
                source.note(where, f"column {name!r} is {column.type}, and is left out: make it text, a number, ...")
            else:
                columns.append((name, [_plain(value) for value in readable.to_pylist()]))
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        raise DataError(f"{source.tree.where(file)} cannot be read as Parquet ({error})") from None
    names = [name for name, _ in columns]
    _check_columns(source, file, names)
    for row, values in enumerate(zip(*(values for _, values in columns), strict=True)):
        yield Record(f"{where} row {row}", dict(zip(names, values, strict=True)), source.problems)


def _readable(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Returns a column whose Python values `_plain` understands; None if it is nested or binary."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_timestamp(kind):  # Python has no nanoseconds
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    if any(is_list(kind) for is_list in _LISTS):
        kind = kind.value_type
        return column if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None
    return column if any(is_scalar(kind) for is_scalar in _SCALARS) else None


def _plain(value: Any) -> Any:
    if isinstance(value, date):  # also a datetime
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


def _check_columns(source: Source, file: Path, names: Sequence[str]) -> None:
    missing = [name for name in _REQUIRED if name not in names]
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    where = source.tree.where(file)
    if missing:
        found = ", ".join(map(repr, names))
        lines = [f"{where} has no usable column {' and '.join(missing)}: add it, or rename one of {found}"]
        raise DataError("\n".join([*lines, *map(str, source.problems)]))
    if twice:
        raise DataError(f"{where} has several columns {', '.join(map(repr, twice))}: give each its own name")


_READERS = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}


def _entry(record: Record, source: Source, positions: dict[str, str], misnamed: dict[str, Problem]) -> Entry | None:
    """Returns the entry of a record, unless id or image is missing; notes all else that is wrong."""
    identifier, image = _id(record), record.text("image")
    title = record.text("title") if record.value("title") not in (None, "") else None
    attributes = _attributes(record, misnamed)
    if image is not None and leaves_root(image):
        record.note(f"image {image!r} must be a path inside the catalog's folder, relative to it")
        image = None
    if identifier is not None:
        first = positions.setdefault(identifier, record.where)
        if first != record.where:
            record.note(f"id {identifier!r} is there twice, first at {first}")
    if identifier is None or image is None:
        return None
    if not _is_unicode([identifier, image, title, attributes]):
        record.note("has text that is not Unicode (an unpaired surrogate): correct its encoding")
    picture = source.tree.file(source.root / image)
    return Entry(identifier, picture, (title or "").strip(), attributes, record.where)


def _id(record: Record) -> str | None:
    value = record.value("id")
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    identifier = str(value) if is_integer else record.text("id")
    if identifier is not None and len(identifier) > MAX_ID:
        record.note(f"id has {len(identifier)} characters, more than {MAX_ID}")
        return None
    if identifier is not None and _CONTROL.search(identifier):
        record.note(f"id {identifier!r} has control characters: remove them")
        return None
    return identifier


def _is_unicode(values: list[Any]) -> bool:
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _attributes(record: Record, misnamed: dict[str, Problem]) -> dict[str, Value]:
    attributes: dict[str, Value] = {}
    for key, given in record.items():
        if key in _RESERVED or given in (None, "", []):
            continue
        if not re.fullmatch(ATTRIBUTE, key):
            what = (
                f"{key!r} cannot be filtered by, and is left out of all entries: rename it to at most 64 of A-Z, a-z, "
                f"0-9, _ and -, beginning with a letter or _"
            )
            misnamed.setdefault(key, Problem(record.where, what))
            continue
        value = _value(record, key, given)
        if value is not None:
            attributes[key] = value
    return attributes


def _value(record: Record, key: str, value: Any) -> Value | None:
    """Returns an attribute's value; None if it is empty, too long, or wrong, which is noted."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        record.note(f"{key} is beyond ±{MAX_NUMBER}, where numbers are not exact: write it as text")
        return None
    if isinstance(value, float) and not math.isfinite(value):
        record.note(f"{key} is {value}: give a finite number, or leave it out")
        return None
    if isinstance(value, (int, float)):
        return value
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(text is None or isinstance(text, str) for text in texts):
        record.note(f"{key} must be a text, a number, true or false, or a list of texts, not {type(value).__name__}")
        return None
    kept = list(dict.fromkeys(text for text in texts if text and text.strip() and len(text) <= MAX_TEXT))
    if isinstance(value, str):
        return value if kept else None
    return kept or None


def _of_one_kind(entries: Sequence[Entry]) -> tuple[list[Entry], list[Problem]]:
    """Takes out the entries whose attributes are of another kind than in most: a filter finds only one kind."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        for name, value in entry.attributes.items():
            counts[name][_kind(value)] += 1
    usual = {name: kinds.most_common(1)[0][0] for name, kinds in counts.items()}
    good, problems = [], []
    for entry in entries:
        kinds = {name: _kind(value) for name, value in entry.attributes.items()}
        wrong = [
            f"{name} is {_KINDS[kind]} here and {_KINDS[usual[name]]} in most entries: make it one of them everywhere"
            for name, kind in kinds.items()
            if kind != usual[name]
        ]
        if wrong:
            problems.append(Problem(entry.where, "; ".join(wrong)))
        else:
            good.append(entry)
    return good, problems


def _kind(value: Value) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, (int, float)) else "keyword"
