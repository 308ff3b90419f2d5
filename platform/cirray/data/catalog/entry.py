"""What a catalog is read into."""

from __future__ import annotations

from dataclasses import dataclass, field

from cirray.data.records import Problem
from cirray.storage.tree import File

Value = str | int | float | bool | list[str]


@dataclass(frozen=True, slots=True)
class WebPicture:
    """A picture at an http(s) address, which the indexing job downloads."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class Entry:
    """One item of a catalog.

    Attributes:
        id: 1 to 512 characters, unique.
        images: its pictures, at least one, the main one first; the files are not opened yet.
        title: what people read, "" if there is none.
        attributes: name -> value; a name has values of one kind in the whole catalog.
        where: "file:line", "file row i" (Parquet, counted from 0) or a picture's path (folders).
        group: the product that the item belongs to; "" if it is one of its own.
    """

    id: str
    images: tuple[File | WebPicture, ...]
    title: str
    attributes: dict[str, Value]
    where: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """A catalog that was read.

    Attributes:
        entries: the usable items, in the catalog's order.
        problems: one for each row that cannot be used.
        notes: how the file was read, and the values that are omitted; one line each.
    """

    entries: list[Entry]
    problems: list[Problem]
    notes: list[str] = field(default_factory=list)
