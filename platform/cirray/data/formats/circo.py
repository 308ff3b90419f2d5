"""Reads CIRCO in its published layout (Baldrati et al., ICCV 2023; github.com/miccunifi/CIRCO).

    root/annotations/{val,test}.json    [{"id", "reference_img_id", "relative_caption", "target_img_id",
                                          "gt_img_ids", "semantic_aspects"}]
    root/COCO2017_unlabeled/annotations/image_info_unlabeled2017.json    {"images": [{"id", "file_name"}]}
    root/COCO2017_unlabeled/unlabeled2017/000000123456.jpg

The last two may also be without the folder COCO2017_unlabeled. The gallery is all images of the image info file, in its
order: 123,403. Without that file it is all pictures in unlabeled2017, and the protocol's name says how many.

The query is the relative caption, as in the official baselines; "shared_concept" is not used. The test split has no
target_img_id, gt_img_ids and semantic_aspects. The reference stays in the ranking, as in the official evaluation.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cirray.config.data import Data
from cirray.data.captions import is_empty
from cirray.data.formats._annotations import Annotations
from cirray.data.formats._answers import read_aspects, read_positives
from cirray.data.parsing import Record, Source, leaves_root
from cirray.data.records import Problem, Protocol, Split, Triplet
from cirray.errors import ConfigError
from cirray.storage.location import Location
from cirray.storage.tree import File

EXPECTED = "annotations/ of CIRCO and COCO2017_unlabeled/ with annotations/ and unlabeled2017/ of COCO"
RANKED_TYPE = int
SUBMISSION_LENGTH = 50

IMAGES = 123_403
_FOLDER = "COCO2017_unlabeled"
_INFO = "annotations/image_info_unlabeled2017.json"
_PICTURES = "unlabeled2017"
_FILE_NAME = re.compile(r"\d{12}\.jpg")


def read(data: Data, splits: Sequence[str]) -> Annotations:
    """Reads the splits; the gallery "all" is every image, in each split.

    Raises:
        ConfigError: the train split is asked for.
    """
    if "train" in splits:
        raise ConfigError(
            "CIRCO has no train split: train on another dataset, and evaluate its bundle on CIRCO with "
            "jobs/evaluate.py --data.format circo"
        )
    source = Source(Location.parse(data.root))
    folder = source.root / _FOLDER if source.tree.exists(source.root / _FOLDER) else source.root
    info, images, sources = folder / _INFO, {}, {}
    for identifier, file, where in _listed(source, info) if source.tree.exists(info) else _pictures(source, folder):
        images[identifier], sources[identifier] = file, where
    known = None if source.fatal else images
    gallery = {"all": tuple(images)}
    parts = {}
    for split in splits:
        triplets = read_triplets(source, source.root / "annotations" / f"{split}.json", split, known)
        parts[split] = Split(split, tuple(triplets), gallery)
    of_all = "" if len(images) == IMAGES else f" instead of {IMAGES:,}"
    label = f"circo (gallery of {len(images):,} images{of_all}, reference kept)"
    return Annotations(
        "circo", images, sources, {}, parts, replace(protocol(data), name=label), source.problems, source.fatal
    )


def protocol(data: Data) -> Protocol:
    """Returns how CIRCO is scored: mAP@K over all right answers, R@K of the target."""
    return Protocol("circo (whole gallery, reference kept)", exclude_reference=False, ks=(1, 5, 10, 25, 50))


def _listed(source: Source, info: Path) -> Iterator[tuple[str, File, str]]:
    """Yields (id, picture file, position) of the images of the image info file, in file order."""
    table = source.table(info)
    listed = (table or {}).get("images")
    if table is not None and not isinstance(listed, list):
        source.fatal.append(Problem(source.name(info), "images must be a list of objects"))
        return
    seen: dict[str, str] = {}
    for number, values in enumerate(listed or ()):
        where = f"{source.name(info)} images entry {number}"
        if not isinstance(values, dict):
            source.note(where, "must be a JSON object")
            continue
        record = Record(where, values, source.problems)
        identifier, name = record.id("id"), record.text("file_name")
        if name is not None and leaves_root(name):
            record.note(f"file_name {name!r} leads out of the data folder")
        elif identifier in seen:
            record.note(f"id {identifier} appears twice, first at {seen[identifier]}")
        elif identifier is not None and name is not None:
            seen[identifier] = where
            yield identifier, source.tree.file(info.parents[1] / _PICTURES / name), where


def _pictures(source: Source, folder: Path) -> Iterator[tuple[str, File, str]]:
    """Yields (id, picture file, position) of the pictures in unlabeled2017, sorted by id."""
    pictures = [path for path in source.tree.entries(folder / _PICTURES) if _FILE_NAME.fullmatch(path.name)]
    if not pictures:
        missing = f"the file is missing, and {source.tree.where(folder / _PICTURES)} has no pictures 000000123456.jpg"
        source.fatal.append(Problem(source.name(folder / _INFO), missing))
    for path in pictures:
        yield str(int(path.stem)), source.tree.file(path), source.name(path)


def read_triplets(source: Source, path: Path, split: str, known: Container[str] | None = None) -> Iterator[Triplet]:
    """Yields the triplets of an annotation file; with `known` None image ids are not checked."""
    seen: dict[str, str] = {}
    gallery = "the gallery"
    for record in source.records(path):
        query_id = _query_id(record, seen)
        reference = record.known_id("reference_img_id", known, gallery, integers=True)
        has_target = split != "test" or record.has("target_img_id")
        target = record.known_id("target_img_id", known, gallery, integers=True) if has_target else None
        positives = read_positives(record, "gt_img_ids", target, known, gallery)
        aspects = read_aspects(record, "semantic_aspects")
        caption = record.text("relative_caption")
        if caption is not None and is_empty(caption):
            record.note(f"the caption {caption!r} is empty")
            caption = None
        if query_id is None or reference is None or caption is None or positives is None or aspects is None:
            continue
        if target is None and has_target:
            continue
        yield Triplet(reference, (caption,), target, pair_id=query_id, positives=positives, aspects=aspects)


def _query_id(record: Record, seen: dict[str, str]) -> str | None:
    query_id = record.id("id")
    if query_id in seen:
        record.note(f"id {query_id} appears twice, first at {seen[query_id]}")
        return None
    if query_id is not None:
        seen[query_id] = record.where
    return query_id


def ranking_files(
    split: Split, ranked: Sequence[Sequence[str]], within: Sequence[Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """Returns the submission to CIRCO's test server: query id -> image ids as integers."""
    lists = {
        triplet.pair_id: [int(name) for name in names] for triplet, names in zip(split.triplets, ranked, strict=True)
    }
    return {f"submission_{split.name}.json": lists}


def recognizes(record: Record, in_array: bool) -> bool:
    """See `DatasetFormat`."""
    return in_array and record.has("reference_img_id")


def read_annotation_file(source: Source, path: Path) -> Iterator[Triplet]:
    """See `DatasetFormat`."""
    return read_triplets(source, path, "test")
