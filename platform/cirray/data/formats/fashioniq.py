"""Reads FashionIQ in its published layout.

    root/captions/cap.{category}.{split}.json        [{"candidate": id, "target": id, "captions": [str, str]}]
    root/image_splits/split.{category}.{split}.json  [id, ...]
    root/images/{id}.png                              any suffix of a picture file, and images/{category}/ too
    root/titles.json                                  {id: title}, optional; not part of FashionIQ

The reference is called "candidate"; targets of the test split are not published. Empty captions are dropped, see
`captions.without_empty`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cirray.config.data import Data
from cirray.data.captions import without_empty
from cirray.data.formats._annotations import Annotations
from cirray.data.images import has_picture_header, picture_suffixes
from cirray.data.parsing import Record, Source, leaves_root
from cirray.data.records import Protocol, Split, Triplet
from cirray.storage.location import Location
from cirray.storage.tree import File, Tree

EXPECTED = "captions/, image_splits/ and images/ of FashionIQ"
RANKED_TYPE = str
SUBMISSION_LENGTH = None

# The suffixes that are tried first, in this order.
_SUFFIXES = (".png", ".jpg", ".jpeg")
_WHOLE = Protocol("fashioniq (whole split file)", exclude_reference=False, selection="mean-r10-r50")
_VAL_SPLIT = Protocol(
    "fashioniq VAL split (references and targets only)", exclude_reference=False, selection="mean-r10-r50"
)


def read(data: Data, splits: Sequence[str]) -> Annotations:
    """Reads the splits of `data.categories`.

    The gallery of a category is its whole split file; with `data.gallery` "val-split" it is the union of the split's
    references and targets, in order of first use (the test split, without targets, keeps the whole file).
    """
    source = Source(Location.parse(data.root))
    sources: dict[str, str] = {}
    parts: dict[str, Split] = {}
    for split in splits:
        triplets: list[Triplet] = []
        galleries: dict[str, tuple[str, ...]] = {}
        for category in data.categories:
            listed = _listed(source, category, split)
            captions = source.root / "captions" / f"cap.{category}.{split}.json"
            split_file = f"image_splits/split.{category}.{split}.json"
            category_triplets = list(read_triplets(source, captions, category, split, listed, split_file))
            union = data.gallery == "val-split" and split != "test"
            galleries[category] = _union(category_triplets) if union else tuple(listed or ())
            triplets += category_triplets
            for identifier in galleries[category]:
                sources.setdefault(identifier, (listed or {}).get(identifier, ""))
        parts[split] = Split(split, tuple(triplets), galleries)
    return Annotations(
        name="fashioniq",
        images=_files(source.tree, sources, data.categories),
        image_sources=sources,
        titles=_titles(source, sources),
        splits=parts,
        protocol=protocol(data),
        problems=source.problems,
        fatal=source.fatal,
    )


def protocol(data: Data) -> Protocol:
    """Returns how FashionIQ is scored."""
    return _VAL_SPLIT if data.gallery == "val-split" else _WHOLE


def _listed(source: Source, category: str, split: str) -> dict[str, str] | None:
    """Returns id -> position in a split file, in file order; None if the file is missing."""
    items = source.array(source.root / "image_splits" / f"split.{category}.{split}.json")
    if items is None:
        return None
    listed: dict[str, str] = {}
    for where, identifier in items:
        if not isinstance(identifier, str) or not identifier.strip():
            source.note(where, f"an image id must be a non-empty string, not {identifier!r}")
        elif leaves_root(identifier) or "/" in identifier:
            source.note(where, f"image id {identifier!r} cannot be the name of a file")
        elif identifier in listed:
            source.note(where, f"image id {identifier!r} appears twice, first at {listed[identifier]}")
        else:
            listed[identifier] = where
    return listed


def read_triplets(
    source: Source,
    path: Path,
    category: str,
    split: str,
    listed: Mapping[str, str] | None = None,
    split_file: str = "",
) -> Iterator[Triplet]:
    """Yields the triplets of an annotation file; with `listed` None image ids are not checked."""
    for record in source.records(path):
        reference = record.known_id("candidate", listed, split_file)
        has_target = split != "test" or record.has("target")
        target = record.known_id("target", listed, split_file) if has_target else None
        captions = record.texts("captions")
        if captions is not None and not without_empty(captions):
            record.note("all its captions are empty")
            captions = None
        if reference is not None and captions is not None and (target is not None or not has_target):
            yield Triplet(reference, without_empty(captions), target, category)


def _union(triplets: Sequence[Triplet]) -> tuple[str, ...]:
    ids = (identifier for triplet in triplets for identifier in (triplet.reference, triplet.target))
    return tuple(dict.fromkeys(identifier for identifier in ids if identifier is not None))


def _files(tree: Tree, ids: Mapping[str, str], categories: Sequence[str]) -> dict[str, File]:
    """Returns id -> file. Lists each folder once; an id without a file gets .png, which the audit reports as missing.

    Of several files of an id the first that is a picture counts: in images/ before images/{category}/, .png before
    .jpg.
    """
    suffixes = dict.fromkeys((*_SUFFIXES, *sorted(picture_suffixes())))
    order = {suffix: rank for rank, suffix in enumerate(suffixes)}
    folders = [tree.root / "images", *(tree.root / "images" / category for category in categories)]
    found: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        pictures = [path for path in tree.entries(folder) if path.suffix.lower() in order]
        for path in sorted(pictures, key=lambda path: order[path.suffix.lower()]):
            found[path.stem].append(path)

    def file(identifier: str) -> File:
        files = [tree.file(path) for path in found.get(identifier) or [folders[0] / f"{identifier}.png"]]
        if len(files) == 1:
            return files[0]
        return next((one for one in files if has_picture_header(one)), files[0])

    return {identifier: file(identifier) for identifier in ids}


def _titles(source: Source, ids: Mapping[str, str]) -> dict[str, str]:
    path = source.root / "titles.json"
    titles: dict[str, str] = {}
    if not source.tree.exists(path):
        return titles
    for identifier, title in (source.table(path) or {}).items():
        if not isinstance(title, str) or not title.strip():
            source.note(f"{source.name(path)} entry {identifier}", f"a title must be text, not {title!r}")
        elif identifier in ids:
            titles[identifier] = title.strip()
    return titles


def ranking_files(
    split: Split, ranked: Sequence[Sequence[str]], within: Sequence[Sequence[str]]
) -> dict[str, list[dict[str, Any]]]:
    """Returns one file per category in the layout of the FashionIQ challenge: caption records with a "ranking"."""
    files: dict[str, list[dict[str, Any]]] = {f"{category}.{split.name}.pred.json": [] for category in split.galleries}
    for triplet, names in zip(split.triplets, ranked, strict=True):
        record = {"candidate": triplet.reference, "captions": list(triplet.captions), "ranking": list(names)}
        files[f"{triplet.category}.{split.name}.pred.json"].append(record)
    return files


def recognizes(record: Record, in_array: bool) -> bool:
    """See `DatasetFormat`."""
    return in_array and record.has("candidate")


def read_annotation_file(source: Source, path: Path) -> Iterator[Triplet]:
    """See `DatasetFormat`."""
    return read_triplets(source, path, "all", "test")
