"""Parsed annotation files, before pictures are checked."""

from __future__ import annotations

from dataclasses import dataclass

from cirray.data.records import Problem, Protocol, Split
from cirray.storage.tree import File


@dataclass(frozen=True, slots=True)
class Annotations:
    """The content of a dataset's annotation files, and their problems.

    Attributes:
        name: dataset name.
        images: id -> picture file, of the images that the splits need; the files need not exist.
        image_sources: id -> position where the id is listed, such as "catalog.jsonl:12".
        titles: id -> title, of the images that have one.
        splits: split name -> split, without the records in `problems`.
        protocol: how the dataset is scored.
        problems: invalid records, which `skip_bad` may leave out.
        fatal: files that are missing or unreadable, which `skip_bad` cannot leave out.
    """

    name: str
    images: dict[str, File]
    image_sources: dict[str, str]
    titles: dict[str, str]
    splits: dict[str, Split]
    protocol: Protocol
    problems: list[Problem]
    fatal: list[Problem]
