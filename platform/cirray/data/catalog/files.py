"""Catalog files other than delimited text, and folders, as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, time
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from cirray.data.catalog.table import Table, table_of
from cirray.data.formats.triplets import CATALOG
from cirray.data.images import FORMATS
from cirray.data.parsing import Source
from cirray.errors import DataError


def read_json_lines(source: Source, file: Path) -> Table:
    """Reads a JSON Lines file; objects inside an entry are flattened: {"price": {"amount": 3}} -> price_amount."""
    rows = [(record.where, _flat(dict(record.items()))) for record in source.lines(file)]
    if source.fatal:
        root = source.tree.where(source.root)
        raise DataError("\n".join(f"{root}/{problem}" for problem in source.fatal))
    return table_of(rows)


def read_parquet(source: Source, file: Path) -> Table:
    """Reads a Parquet file; structs are flattened, binary columns are left out.

    Raises:
        DataError: it is no Parquet file, or two columns have one name.
    """
    name = source.name(file)
    try:
        table = parquet.ParquetFile(source.tree.local(file)).read()
        while any(pa.types.is_struct(kind) for kind in table.schema.types):
            table = _flattened(table)
        columns: dict[str, list[Any]] = {}
        notes = []
        for column, cells in zip(table.column_names, table.columns, strict=True):
            if column in columns:
                raise DataError(f"{source.tree.where(file)} has several columns {column!r}: give each its own name")
            kind = _value_type(cells.type)
            if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
                notes.append(f"column {column!r} is {cells.type}, and is left out: pictures are named by their paths")
                continue
            columns[column] = [_plain(value) for value in _readable(cells).to_pylist()]
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        raise DataError(f"{source.tree.where(file)} cannot be read as Parquet ({error})") from None
    return Table(columns, [f"{name} row {row}" for row in range(table.num_rows)], notes=notes)


def read_folder(source: Source) -> Table:
    """Lists the pictures below a folder; the first folder of a picture's path is the attribute `folder`."""
    suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS}
    try:
        names = sorted(
            path.relative_to(source.root).as_posix() for path in source.tree.files() if path.suffix.lower() in suffixes
        )
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from None
    if not names:
        where = source.tree.where(source.root)
        raise DataError(f"{where} has no picture below it ({', '.join(sorted(suffixes))}), and no {CATALOG}")
    return table_of([_picture_row(name, row) for name, row in zip(names, _ids(names), strict=True)])


def _picture_row(name: str, identifier: str) -> tuple[str, dict[str, Any]]:
    row = {"id": identifier, "image": name}
    if "/" in name:
        row["folder"] = name.split("/")[0]
    return name.encode(errors="backslashreplace").decode(), row  # a name need not be UTF-8, and this one is printed


def _ids(names: Sequence[str]) -> list[str]:
    """Returns the names without their suffix where that is unique."""
    stems = [name.removesuffix(PurePosixPath(name).suffix) for name in names]
    taken = Counter([*names, *stems])
    return [stem if taken[stem] == 1 else name for name, stem in zip(names, stems, strict=True)]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}_")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _flattened(table: pa.Table) -> pa.Table:
    """Replaces struct columns by their fields, named as in `read_json_lines`."""
    names, columns = [], []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not pa.types.is_struct(column.type):
            names.append(name)
            columns.append(column)
            continue
        fields = [column.type.field(i).name for i in range(column.type.num_fields)]
        names += [f"{name}_{field}" for field in fields]
        columns += column.flatten()
    return pa.table(columns, names=names)


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _readable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type):  # Python has no nanoseconds
        return column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column


def _plain(value: Any) -> Any:
    if isinstance(value, (date, time)):  # also a datetime
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value
