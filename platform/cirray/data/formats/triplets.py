"""Reads custom triplets (data.format "triplets").

    root/catalog.jsonl             {"id": str or int, "image": path relative to root, "title": str (optional)}
    root/triplets.{split}.jsonl    {"reference": id, "captions": [str, ...] or str, "target": id,
                                    "relation": str (optional), "positives": [id, ...] (optional),
                                    "hard_negatives": [id, ...] (optional), "aspects": [str, ...] (optional),
                                    "query": str or int (optional)}

One JSON object per line; other keys are ignored. An integer id is taken as text, in both files. Targets
may be missing in a test split. The keys of `Triplet` with the same names say what is optional.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from cirray.config.data import Data
from cirray.data.captions import is_empty
from cirray.data.formats._annotations import Annotations
from cirray.data.formats._answers import Paraphrases, read_aspects, read_hard_negatives, read_positives
from cirray.data.parsing import Record, Source, leaves_root
from cirray.data.records import Protocol, Split, Triplet
from cirray.storage.location import Location
from cirray.storage.tree import File

EXPECTED = "catalog.jsonl, triplets.train.jsonl, triplets.val.jsonl and the pictures"
RANKED_TYPE = str
SUBMISSION_LENGTH = None
CATALOG = "catalog.jsonl"

_PROTOCOL = Protocol("triplets (whole catalog, reference kept)", exclude_reference=False, selection="mean-all")


def read(data: Data, splits: Sequence[str]) -> Annotations:
    """Reads the catalog and the splits; the gallery "all" is the whole catalog, in file order."""
    source = Source(Location.parse(data.root))
    images: dict[str, File] = {}
    sources: dict[str, str] = {}
    titles: dict[str, str] = {}
    for record in source.lines(source.root / CATALOG):
        _add_item(record, source, images, sources, titles)
    known = None if source.fatal else sources
    gallery = {"all": tuple(images)}
    files = {split: source.root / f"triplets.{split}.jsonl" for split in splits}
    parts = {
        split: Split(split, tuple(read_triplets(source, path, split, known)), gallery) for split, path in files.items()
    }
    return Annotations("triplets", images, sources, titles, parts, protocol(data), source.problems, source.fatal)


def protocol(data: Data) -> Protocol:
    """Returns how custom triplets are scored."""
    return _PROTOCOL


def _add_item(
    record: Record,
    source: Source,
    images: dict[str, File],
    sources: dict[str, str],
    titles: dict[str, str],
) -> None:
    identifier, image = record.id("id"), record.text("image")
    title = record.text("title") if record.value("title") not in (None, "") else None
    if image is not None and leaves_root(image):
        record.note(f"image {image!r} must be a path inside the data folder, relative to it")
        image = None
    if identifier is not None and identifier in sources:
        record.note(f"id {identifier!r} appears twice, first at {sources[identifier]}")
        return
    if identifier is None or image is None:
        return
    images[identifier] = source.tree.file(source.root / image)
    sources[identifier] = record.where
    if title is not None:
        titles[identifier] = title.strip()


def read_triplets(
    source: Source, path: Path, split: str, known: Container[str] | None = None, listed_in: str = CATALOG
) -> Iterator[Triplet]:
    """Yields the triplets of a file.

    Args:
        known: the image ids of the dataset; None = they are not checked.
        listed_in: where they are listed, for messages.
    """
    paraphrases = Paraphrases()
    for record in source.lines(path):
        reference = record.known_id("reference", known, listed_in, integers=True)
        has_target = split != "test" or record.has("target")
        target = record.known_id("target", known, listed_in, integers=True) if has_target else None
        captions = record.texts("captions", single=True)
        if captions is not None and any(is_empty(caption) for caption in captions):
            record.note("one of its captions is empty")
            captions = None
        positives = read_positives(record, "positives", target, known, listed_in)
        negatives = read_hard_negatives(record, "hard_negatives", (target, *(positives or ())), known, listed_in)
        aspects = read_aspects(record, "aspects")
        complete = reference is not None and (target is not None or not has_target)
        query = paraphrases.read(record, "query", (reference, target) if complete else None)
        if reference is None or captions is None or not complete:
            continue
        if positives is not None and negatives is not None and aspects is not None and query is not None:
            yield Triplet(
                reference,
                captions,
                target,
                relation=record.label("relation"),
                positives=positives,
                hard_negatives=negatives,
                aspects=aspects,
                query=query,
            )


def ranking_files(
    split: Split, ranked: Sequence[Sequence[str]], within: Sequence[Sequence[str]]
) -> dict[str, dict[str, list[str]]]:
    """Returns one file: position of each triplet in its file (from 0) -> ranked ids."""
    return {f"{split.name}.ranks.json": {str(row): list(names) for row, names in enumerate(ranked)}}


def recognizes(record: Record, in_array: bool) -> bool:
    """See `DatasetFormat`."""
    return not in_array and record.has("reference")


def read_annotation_file(source: Source, path: Path) -> Iterator[Triplet]:
    """See `DatasetFormat`."""
    return read_triplets(source, path, "test")
