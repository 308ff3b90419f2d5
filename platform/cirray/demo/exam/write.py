"""Writes the exam: pictures, catalog, queries of one and of two references, negative queries, and goals of rounds."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cirray.demo.attributes import ATTRIBUTES, CATEGORIES, Garment
from cirray.demo.catalog import VERSION as CATALOG_VERSION
from cirray.demo.exam.changes import Change, draw_changes, needed
from cirray.demo.exam.gallery import Gallery, complete, read_items
from cirray.demo.exam.negatives import negatives
from cirray.demo.exam.queries import queries, rounds, two_references
from cirray.demo.folder import read_manifest, write_folder
from cirray.demo.phrases import title
from cirray.demo.pictures import draw_pictures, random_stream
from cirray.errors import DataError

# Increase it whenever the files for a catalog change: with the choice of queries, the wordings, the phrases of training
# or the drawing. Results of different versions cannot be compared.
VERSION = 2
_LINK = "catalog-images"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Size of the exam.

    Attributes:
        queries: queries per category, each in six wordings.
        least_right, most_right: a query gets between so many right answers; more if another query needs them.
        rounds: starts and targets of several rounds per category.
    """

    queries: int = 40
    least_right: int = 2
    most_right: int = 5
    rounds: int = 20


def write_exam(catalog: Path, root: Path, sizes: Sizes | None = None, workers: int | None = None) -> None:
    """Writes the exam on a demo catalog to `root`, atomically; does nothing if it is there already.

    Args:
        catalog: the demo catalog's folder, which must stay: the exam links to its pictures.
        root: folder to create.
        sizes: number of queries.
        workers: number of drawing processes; None for one per core, at most four.

    Raises:
        DataError: `catalog` is no demo catalog of this version, or `root` contains anything else.
    """
    sizes = sizes or Sizes()
    source = read_manifest(catalog)
    if source.get("generator") != "cirray.demo" or source.get("version") != CATALOG_VERSION:
        raise DataError(
            f"{catalog} is no demo catalog of version {CATALOG_VERSION}: draw one with jobs/demo.py, and give its "
            f"folder OUTPUT/catalog"
        )
    manifest = {
        "generator": "cirray.demo.exam",
        "version": VERSION,
        "attributes": ["category", *ATTRIBUTES],
        "sizes": asdict(sizes),
        "catalog": source,
    }
    target = os.path.relpath((catalog / "images").resolve(), root.parent.resolve() / root.name)
    write_folder(root, manifest, "exam", lambda draft: _write(draft, catalog, target, source["seed"], sizes, workers))


def _write(root: Path, catalog: Path, images: str, seed: int, sizes: Sizes, workers: int | None) -> None:
    items = read_items(catalog)
    trained = frozenset(items["train"].values())
    changes: dict[str, Change] = {}
    wanted: Counter[Garment] = Counter()
    for category in CATEGORIES:
        rng = random_stream(seed, category, "exam changes")
        for number, change in enumerate(draw_changes(items["val"], category, sizes.queries, trained, rng)):
            changes[f"{category}-{number:03d}"] = change
            right = int(rng.integers(sizes.least_right, sizes.most_right + 1))
            wanted |= needed(change, right, trained, rng)
    gallery = complete(items["val"], wanted, seed)
    _lines(root / "catalog.jsonl", (_item(name, garment, gallery, seed) for name, garment in gallery.garments.items()))
    _lines(root / "triplets.val.jsonl", queries(changes, gallery, seed))
    _lines(root / "exam.two_references.jsonl", two_references(changes, gallery, seed))
    _lines(root / "exam.negatives.jsonl", negatives(changes, gallery, seed))
    _lines(root / "exam.rounds.jsonl", rounds(gallery, sizes.rounds, seed))
    (root / _LINK).symlink_to(images, target_is_directory=True)
    (root / "images").mkdir()
    draw_pictures(root / "images", gallery.drawn, seed, "drawing the exam", workers)


def _item(name: str, garment: Garment, gallery: Gallery, seed: int) -> dict[str, Any]:
    folder = _LINK if name in gallery.catalog else "images"
    text = title(garment, random_stream(seed, name, "title"))
    return {"id": name, "image": f"{folder}/{name}.png", "title": text, **asdict(garment)}


def _lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
