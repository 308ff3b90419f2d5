"""Writes the exam: pictures, catalog, queries of one and of two references, and starts and targets of rounds."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cirray.demo.attributes import ATTRIBUTES, CATEGORIES, Garment, differences
from cirray.demo.catalog import VERSION as CATALOG_VERSION
from cirray.demo.exam.changes import Change, draw_changes, is_hard_negative, needed
from cirray.demo.exam.gallery import Gallery, complete, read_items
from cirray.demo.exam.wordings import captions, corrections, two_reference_captions
from cirray.demo.folder import read_manifest, write_folder
from cirray.demo.phrases import title
from cirray.demo.pictures import draw_pictures, random_stream
from cirray.errors import DataError

# Increase it whenever the files for a catalog change: with the choice of queries, the wordings, the phrases of training
# or the drawing. Results of different versions cannot be compared.
VERSION = 1
_LINK = "catalog-images"
_ROUNDS_CHANGES = (3, 4)


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
    _lines(root / "triplets.val.jsonl", _queries(changes, gallery, seed))
    _lines(root / "exam.two_references.jsonl", _two_references(changes, gallery, seed))
    _lines(root / "exam.rounds.jsonl", _rounds(gallery, sizes.rounds, seed))
    (root / _LINK).symlink_to(images, target_is_directory=True)
    (root / "images").mkdir()
    draw_pictures(root / "images", gallery.drawn, seed, "drawing the exam", workers)


def _item(name: str, garment: Garment, gallery: Gallery, seed: int) -> dict[str, Any]:
    folder = _LINK if name in gallery.catalog else "images"
    text = title(garment, random_stream(seed, name, "title"))
    return {"id": name, "image": f"{folder}/{name}.png", "title": text, **asdict(garment)}


def _queries(changes: Mapping[str, Change], gallery: Gallery, seed: int) -> Iterable[dict[str, Any]]:
    for query, change in changes.items():
        answers = _answers(change, gallery)
        for style, text in captions(change.source, change.target, random_stream(seed, query, "exam captions")):
            yield {
                "query": query,
                "reference": change.reference,
                "captions": [text],
                "target": answers["positives"][0],
                "aspects": [style],
                **answers,
            }


def _two_references(changes: Mapping[str, Change], gallery: Gallery, seed: int) -> Iterable[dict[str, Any]]:
    """Yields the queries with one change once more: a second reference has the wanted value, and no text names it."""
    for query, change in changes.items():
        second = _second_reference(change, gallery, seed) if len(change.asked) == 1 else None
        if second is None:
            continue
        for first_text, second_text in two_reference_captions(change.asked[0]):
            yield {
                "query": f"two-{query}",
                "single": query,
                "references": [change.reference, second],
                "captions": [first_text, second_text],
                **_answers(change, gallery),
            }


def _second_reference(change: Change, gallery: Gallery, seed: int) -> str | None:
    """Returns an item of the catalog that has the wanted value and little else of the target; None if there is none."""
    (attribute,) = change.asked
    if attribute == "logo" and not change.target.logo:
        return None
    choices = [
        name
        for name, garment in gallery.catalog.items()
        if garment.category == change.target.category
        and getattr(garment, attribute) == getattr(change.target, attribute)
        and len(differences(change.source, garment)) >= 3
    ]
    rng = random_stream(seed, change.reference, attribute, "exam second reference")
    return choices[rng.integers(len(choices))] if choices else None


def _rounds(gallery: Gallery, count: int, seed: int) -> Iterable[dict[str, Any]]:
    for category in CATEGORIES:
        members = [name for name, garment in gallery.catalog.items() if garment.category == category]
        rng = random_stream(seed, category, "exam rounds")
        pairs = [
            (start, target)
            for start in members
            for target in members
            if len(differences(gallery.catalog[start], gallery.catalog[target])) in _ROUNDS_CHANGES
        ]
        for number, pair in enumerate(rng.permutation(len(pairs))[:count]):
            start, target = pairs[pair]
            garment = gallery.catalog[target]
            yield {
                "query": f"rounds-{category}-{number:03d}",
                "start": start,
                "target": target,
                "positives": gallery.of(garment),
                "say": corrections(garment),
            }


def _answers(change: Change, gallery: Gallery) -> dict[str, Any]:
    """Returns the keys of a query that say which answers are right and which are wrong, and why."""
    return {
        "positives": gallery.of(change.target),
        "hard_negatives": [
            name
            for name, garment in gallery.garments.items()
            if name != change.reference and is_hard_negative(change, garment)
        ],
        "relation": "+".join(change.asked),
        "asked": {name: getattr(change.target, name) for name in change.asked},
        "kept": ["category", *change.kept],
    }


def _lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
