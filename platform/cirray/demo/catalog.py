"""Writes the demo catalog: pictures, splits, captions, titles, in the FashionIQ layout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from cirray.demo.attributes import CATEGORIES, Category, Garment, differences, sample_distinct
from cirray.demo.folder import dump, write_folder
from cirray.demo.phrases import relative_captions, title
from cirray.demo.pictures import draw_pictures, random_stream

VERSION = 1  # increase it whenever the bytes for a seed change
SplitName = Literal["train", "val"]

SPLITS: tuple[SplitName, ...] = get_args(SplitName)
# Number of changed attributes -> share of triplets.
_CHANGES = {1: 0.45, 2: 0.4, 3: 0.15}

_README = """Demo catalog of cirray: generated, not photographed.

Every picture is drawn, every title and caption is composed, by `cirray.demo` from the seed in manifest.json.
The layout is FashionIQ's: images/, image_splits/split.CATEGORY.SPLIT.json, captions/cap.CATEGORY.SPLIT.json.
Besides, titles.json names every picture, and catalog.jsonl lists every item with its attributes.
No data of FashionIQ is contained. Scores on this catalog say nothing about scores on photographs.
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Size of the catalog, per category.

    Attributes:
        train: images of the train split.
        val: images of the val split.
        train_triplets: maximum number of triplets of the train split.
        val_triplets: maximum number of triplets of the val split.
    """

    train: int = 420
    val: int = 200
    train_triplets: int = 8000
    val_triplets: int = 350


@dataclass(frozen=True, slots=True)
class Item:
    """A garment of the catalog with its id."""

    id: str
    garment: Garment
    split: SplitName


def write_catalog(root: Path, seed: int = 0, sizes: Sizes | None = None, workers: int | None = None) -> None:
    """Write the catalog to `root`, atomically; does nothing if it already has this seed and size.

    Args:
        root: folder to create; an empty folder may exist.
        seed: the files depend only on seed and sizes.
        sizes: images and triplets per category.
        workers: number of drawing processes; None for one per core, at most four.

    Raises:
        DataError: `root` contains anything else.
    """
    sizes = sizes or Sizes()
    manifest = {"generator": "cirray.demo", "version": VERSION, "seed": seed, "sizes": asdict(sizes)}
    write_folder(root, manifest, "demo catalog", lambda draft: _write(draft, seed, sizes, workers))


def _write(root: Path, seed: int, sizes: Sizes, workers: int | None) -> None:
    for folder in ("images", "image_splits", "captions"):
        (root / folder).mkdir()
    items: list[Item] = []
    for category in CATEGORIES:
        found = sample_items(category, seed, sizes)
        items += found
        for split in SPLITS:
            members = [item for item in found if item.split == split]
            count = sizes.train_triplets if split == "train" else sizes.val_triplets
            rng = random_stream(seed, category, split)
            dump(root / "image_splits" / f"split.{category}.{split}.json", [item.id for item in members])
            dump(root / "captions" / f"cap.{category}.{split}.json", _triplets(members, count, rng))
    titles = {item.id: title(item.garment, random_stream(seed, item.id, "title")) for item in items}
    dump(root / "titles.json", titles)
    lines = [json.dumps(_record(item, titles[item.id])) + "\n" for item in items]
    (root / "catalog.jsonl").write_text("".join(lines))
    (root / "README.txt").write_text(_README)
    garments = {item.id: item.garment for item in items}
    draw_pictures(root / "images", garments, seed, "drawing the demo catalog", workers)


def sample_items(category: Category, seed: int, sizes: Sizes) -> list[Item]:
    """The items of a category, all distinct, also between the splits."""
    train = sample_distinct(category, sizes.train, random_stream(seed, category, "train items"))
    val = sample_distinct(category, sizes.val, random_stream(seed, category, "val items"), frozenset(train))
    # Ids are shuffled: they do not reveal the split.
    numbers = random_stream(seed, category, "ids").permutation(len(train) + len(val))
    ids = [f"{category[0].upper()}{number:05d}" for number in numbers]
    return [
        *(Item(name, garment, "train") for name, garment in zip(ids[: len(train)], train, strict=True)),
        *(Item(name, garment, "val") for name, garment in zip(ids[len(train) :], val, strict=True)),
    ]


def _triplets(items: Sequence[Item], count: int, rng: np.random.Generator) -> list[dict[str, object]]:
    """Up to `count` triplets of distinct pairs of items, with one to three changed attributes (_CHANGES)."""
    pairs: dict[int, list[tuple[Item, Item]]] = {changes: [] for changes in _CHANGES}
    for reference in items:
        for target in items:
            changes = len(differences(reference.garment, target.garment))
            if reference is not target and changes in pairs:
                pairs[changes].append((reference, target))
    chosen: list[tuple[Item, Item]] = []
    missing = 0.0  # shortage of one number of changes, added to the next
    for changes, share in _CHANGES.items():
        wanted = round(count * share + missing)
        taken = rng.permutation(len(pairs[changes]))[:wanted]
        missing = wanted - len(taken)
        chosen += [pairs[changes][i] for i in taken]
    return [
        {
            "target": chosen[i][1].id,
            "candidate": chosen[i][0].id,
            "captions": list(relative_captions(chosen[i][0].garment, chosen[i][1].garment, rng)),
        }
        for i in rng.permutation(len(chosen))
    ]


def _record(item: Item, item_title: str) -> dict[str, object]:
    return {
        "id": item.id,
        "image": f"images/{item.id}.png",
        "title": item_title,
        "split": item.split,
        **asdict(item.garment),
    }
