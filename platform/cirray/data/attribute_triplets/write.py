"""Makes a folder of triplets (data format "triplets") from a catalog's attributes."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cirray.data.attribute_triplets.captions import captions_of
from cirray.data.attribute_triplets.pairs import Pair, draw_pairs
from cirray.data.attribute_triplets.usable import Usable, usable_attributes
from cirray.data.catalog import Entry, local_pictures
from cirray.errors import DataError
from cirray.storage.files import write_text
from cirray.storage.tree import File

EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class MadeTriplets:
    """What was made, for people.

    Attributes:
        counts: split -> triplets.
        examples: some triplets as text.
        usable: the attributes that were used, and why others were not.
    """

    counts: dict[str, int]
    examples: list[str]
    usable: Usable


def write_triplets(
    entries: Sequence[Entry],
    folders: Mapping[str, Path],
    output: Path,
    count: int,
    val_share: float = 0.1,
    excluded: Sequence[str] = (),
    seed: int = 0,
) -> MadeTriplets:
    """Writes catalog.jsonl, triplets.train.jsonl and triplets.val.jsonl; no product is in both splits.

    Args:
        entries: items with pictures on this machine.
        folders: link name -> folder; `output` gets links to the folders that hold the pictures.
        count: triplets of the train split; val gets `val_share` of that.

    Raises:
        DataError: no attribute can be used, or no two items differ in few attributes.
    """
    usable = usable_attributes(entries, excluded)
    if not usable.names:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in usable.left_out.items())
        raise DataError(f"no attribute of the catalog can be used for triplets: {reasons or 'there are none'}")
    splits = {"train": count, "val": round(count * val_share)}
    parts = {name: [entry for entry in entries if _split(entry, val_share) == name] for name in splits}
    pairs = {name: draw_pairs(parts[name], usable.names, wanted, seed) for name, wanted in splits.items()}
    if not all(pairs.values()):
        empty = next(name for name, found in pairs.items() if not found)
        raise DataError(
            f"no two items of the {empty} split differ in one to three of {', '.join(usable.names)} and agree in the "
            f"rest: leave out attributes that differ nearly everywhere (--exclude), or give more items"
        )
    chance = random.Random(seed)
    lines = {name: [_record(pair, chance) for pair in found] for name, found in pairs.items()}
    output.mkdir(parents=True, exist_ok=True)
    images = [_linked(local_pictures(entry)[0], folders) for entry in entries]
    for name, folder in folders.items():
        if any(image.startswith(f"{name}/") for image in images):
            _link(output / name, folder)
    for name, records in lines.items():
        write_text(
            output / f"triplets.{name}.jsonl", "".join(f"{json.dumps(r, ensure_ascii=False)}\n" for r in records)
        )
    write_text(
        output / "catalog.jsonl", "".join(_item(entry, image) for entry, image in zip(entries, images, strict=True))
    )
    shown = chance.sample(lines["train"], min(EXAMPLES, len(lines["train"])))
    examples = [f"{r['reference']} -> {r['target']}: {' / '.join(r['captions'])}" for r in shown]
    return MadeTriplets({name: len(records) for name, records in lines.items()}, examples, usable)


def _split(entry: Entry, val_share: float) -> str:
    """Returns an item's split by a hash of its product, so that it stays when the catalog grows."""
    digest = hashlib.sha256((entry.group or entry.id).encode()).digest()
    return "val" if int.from_bytes(digest[:8]) < val_share * 2**64 else "train"


def _record(pair: Pair, chance: random.Random) -> dict[str, Any]:
    return {
        "reference": pair.reference.id,
        "captions": captions_of(pair, chance),
        "target": pair.target.id,
        "relation": "+".join(pair.differing),
    }


def _item(entry: Entry, image: str) -> str:
    item = {"id": entry.id, "image": image, "title": entry.title, **entry.attributes}
    return json.dumps(item, ensure_ascii=False) + "\n"


def _linked(picture: File, folders: Mapping[str, Path]) -> str:
    """Returns the path of a picture by the link to its folder.

    Raises:
        DataError: the picture is at a URI, or in none of the folders.
    """
    for name, folder in folders.items():
        if isinstance(picture, Path) and picture.is_relative_to(folder):
            return f"{name}/{picture.relative_to(folder).as_posix()}"
    raise DataError(f"{picture} is not on this machine: copy the catalog and its pictures to a folder first")


def _link(link: Path, folder: Path) -> None:
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        raise DataError(f"{link} is there already and is no link: give --output a new folder")
    link.symlink_to(folder.resolve(), target_is_directory=True)
