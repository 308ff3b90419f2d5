"""Reads your own triplets (data.format "triplets").

    root/catalog.jsonl             {"id": str, "image": path relative to root, "title": str (optional)}
    root/triplets.{split}.jsonl    {"reference": id, "captions": [str, ...] or str, "target": id}

One JSON object a line; other keys are ignored. A test split may leave the targets out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cirray import config
from cirray.data.annotations import Annotations
from cirray.data.captions import is_empty
from cirray.data.parsing import Record, Source, leaves_root
from cirray.data.pictures import Picture
from cirray.data.triplets import Protocol, Split, Triplet

EXPECTED = "catalog.jsonl, triplets.train.jsonl, triplets.val.jsonl and the pictures"
CATALOG = "catalog.jsonl"

_PROTOCOL = Protocol("triplets (whole catalogue, reference kept)", exclude_reference=False, selection="mean-all")


def read(data: config.Data, splits: Sequence[str]) -> Annotations:
    """Reads the catalogue and the splits; the gallery "all" is the whole catalogue in its own order."""
    source = Source(data.root)
    images: dict[str, Picture] = {}
    sources: dict[str, str] = {}
    titles: dict[str, str] = {}
    for record in source.lines(source.root / CATALOG):
        _add_item(record, source, images, sources, titles)
    known = None if source.fatal else sources
    gallery = {"all": tuple(images)}
    parts = {split: Split(split, tuple(_triplets(source, split, known)), gallery) for split in splits}
    return Annotations("triplets", images, sources, titles, parts, _PROTOCOL, source.problems, source.fatal)


def _add_item(
    record: Record,
    source: Source,
    images: dict[str, Picture],
    sources: dict[str, str],
    titles: dict[str, str],
) -> None:
    identifier, image = record.text("id"), record.text("image")
    title = record.text("title") if record.value("title") not in (None, "") else None
    if image is not None and leaves_root(image):
        record.note(f"image {image!r} must be a path inside the data folder, relative to it")
        image = None
    if identifier is not None and identifier in sources:
        record.note(f"id {identifier!r} is there twice, first at {sources[identifier]}")
        return
    if identifier is None or image is None:
        return
    images[identifier] = source.tree.picture(source.root / image)
    sources[identifier] = record.where
    if title is not None:
        titles[identifier] = title.strip()


def _triplets(source: Source, split: str, known: Mapping[str, str] | None) -> Iterator[Triplet]:
    for record in source.lines(source.root / f"triplets.{split}.jsonl"):
        reference = record.known_id("reference", known, CATALOG)
        has_target = split != "test" or record.has("target")
        target = record.known_id("target", known, CATALOG) if has_target else None
        captions = record.texts("captions", single=True)
        if captions is not None and any(is_empty(caption) for caption in captions):
            record.note("one of its captions is empty")
            captions = None
        if reference is not None and captions is not None and (target is not None or not has_target):
            yield Triplet(reference, captions, target)
