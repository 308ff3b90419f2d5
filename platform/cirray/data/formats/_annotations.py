"""What a reader makes of the annotation files of a dataset, before any picture is looked at."""

from __future__ import annotations

from dataclasses import dataclass

from cirray.data.records import Problem, Protocol, Split
from cirray.storage.tree import File


@dataclass(frozen=True, slots=True)
class Annotations:
    """The content of a dataset's annotation files and all that is wrong with them.

    Attributes:
        name: dataset name.
        images: id -> picture file, of the images that the splits need; the files may not exist.
        image_sources: id -> where the id was listed, such as "catalog.jsonl:12".
        titles: id -> title, for those images that have one.
        splits: split name -> split, without the records that `problems` names.
        protocol: how the dataset is scored.
        problems: records that are wrong; they can be left out.
        fatal: files that are missing or cannot be read at all; nothing can be left out to mend that.
    """

    name: str
    images: dict[str, File]
    image_sources: dict[str, str]
    titles: dict[str, str]
    splits: dict[str, Split]
    protocol: Protocol
    problems: list[Problem]
    fatal: list[Problem]
