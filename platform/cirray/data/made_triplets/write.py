"""Writes made triplets as a dataset of the format "triplets"."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cirray.data.catalog import Entry
from cirray.data.made_triplets.names import spoken_value
from cirray.data.made_triplets.pair import Pair
from cirray.data.made_triplets.splits import MadeTriplets
from cirray.errors import DataError
from cirray.storage.files import write_text
from cirray.storage.tree import File


def write_triplets(
    made: MadeTriplets, entries: Sequence[Entry], images: Sequence[str], folders: Mapping[str, Path], output: Path
) -> None:
    """Writes catalog.jsonl, triplets.train.jsonl and triplets.val.jsonl.

    Args:
        entries: all items of the catalog.
        images: their main pictures, as `linked_paths` returns them.
        folders: link name -> folder; `output` gets links to the folders that hold pictures.

    Raises:
        DataError: `output` has a file or folder where a link belongs.
    """
    output.mkdir(parents=True, exist_ok=True)
    for name, folder in folders.items():
        if any(image.startswith(f"{name}/") for image in images):
            _link(output / name, folder)
    for name, pairs in made.splits.items():
        records = (_record(*triplet) for triplet in zip(pairs, made.captions[name], strict=True))
        _write_lines(output / f"triplets.{name}.jsonl", records)
    items = (_item(entry, image, made.attributes) for entry, image in zip(entries, images, strict=True))
    _write_lines(output / "catalog.jsonl", items)


def linked_paths(pictures: Sequence[File], folders: Mapping[str, Path]) -> list[str]:
    """Returns the path of each picture by the link to its folder.

    Raises:
        DataError: a picture is at a URI, or in none of the folders.
    """
    return [_linked(picture, folders) for picture in pictures]


def _linked(picture: File, folders: Mapping[str, Path]) -> str:
    for name, folder in folders.items():
        if isinstance(picture, Path) and picture.is_relative_to(folder):
            return f"{name}/{picture.relative_to(folder).as_posix()}"
    raise DataError(f"{picture} is not on this machine: copy the catalog and its pictures to a folder first")


def _record(pair: Pair, captions: Sequence[str]) -> dict[str, Any]:
    relation = "+".join(change.attribute for change in pair.changes)
    return {
        "reference": pair.reference.id,
        "captions": list(captions),
        "target": pair.target.id,
        "relation": relation,
    }


def _item(entry: Entry, image: str, attributes: Sequence[str]) -> dict[str, Any]:
    """Returns the catalog's line of an item. Without a title, it gets its attributes as title, for stage 0."""
    group = {"group": entry.group} if entry.group else {}
    title = entry.title or _description(entry, attributes)
    return {"id": entry.id, "image": image, "title": title, **group, **entry.attributes}


def _description(entry: Entry, attributes: Sequence[str]) -> str:
    values = [entry.attributes.get(name) for name in attributes]
    texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
    return ", ".join(spoken_value(text) for text in texts if isinstance(text, str))


def _write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    write_text(path, "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records))


def _link(link: Path, folder: Path) -> None:
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        raise DataError(f"{link} exists already and is no link: give --output a new folder")
    link.symlink_to(folder.resolve(), target_is_directory=True)
