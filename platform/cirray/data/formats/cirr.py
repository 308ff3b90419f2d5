"""Reads CIRR in its published layout.

    root/captions/cap.rc2.{split}.json       [{"pairid", "reference", "target_hard", "caption", "img_set"}]
    root/image_splits/split.rc2.{split}.json {id: "./dev/x.png", ...}

Both folders may also be in root/cirr, as in CLIP4Cir. Pictures are searched for under root, root/img_raw and
root/images; one that is not at its path, such as "./train/34/x.png", may be right in the top folder, train/x.png. The
split "test" is CIRR's "test1", whose targets are not published.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from cirray.config.data import Data
from cirray.data.captions import is_empty
from cirray.data.formats._annotations import Annotations
from cirray.data.parsing import Record, Source, leaves_root
from cirray.data.records import Protocol, Selection, Split, Triplet
from cirray.storage.location import Location
from cirray.storage.tree import File, Tree

EXPECTED = "captions/ and image_splits/ of CIRR (or cirr/captions/ and cirr/image_splits/) and the pictures"
RANKED_TYPE = str
SUBMISSION_LENGTH = None

_FILE_SPLIT = {"test": "test1"}
_PICTURE_FOLDERS = ("", "img_raw", "images")


def read(data: Data, splits: Sequence[str]) -> Annotations:
    """Reads the splits; the gallery "all" is every image of a split, in file order.

    An empty caption is a problem, except in the test split, which has one: there it is kept, as a submission needs
    every pair.
    """
    source = Source(Location.parse(data.root))
    folder = source.root / "cirr" if source.tree.exists(source.root / "cirr" / "captions") else source.root
    sources: dict[str, str] = {}
    images: dict[str, File] = {}
    parts: dict[str, Split] = {}
    for split in splits:
        split_file = folder / "image_splits" / f"split.rc2.{_FILE_SPLIT.get(split, split)}.json"
        listed = _listed(source, split_file)
        for identifier, path in (listed or {}).items():
            images.setdefault(identifier, path)
            sources.setdefault(identifier, f"{source.name(split_file)} entry {identifier}")
        captions = folder / "captions" / f"cap.rc2.{_FILE_SPLIT.get(split, split)}.json"
        triplets = tuple(read_triplets(source, captions, split, listed, source.name(split_file)))
        parts[split] = Split(split, triplets, {"all": tuple(listed or ())})
    return Annotations("cirr", images, sources, {}, parts, protocol(data), source.problems, source.fatal)


def protocol(data: Data) -> Protocol:
    """Returns how CIRR is scored."""
    selection: Selection = "headline" if data.selection == "default" else data.selection
    return Protocol(
        "cirr (whole split, reference removed)",
        exclude_reference=True,
        subset_ks=(1, 2, 3),
        selection=selection,
    )


def _listed(source: Source, path: Path) -> dict[str, File] | None:
    """Returns id -> picture file of a split file, in file order; None if the file is missing."""
    table = source.table(path)
    if table is None:
        return None
    locate = _locator(source.tree)
    listed: dict[str, File] = {}
    for identifier, picture in table.items():
        where = f"{source.name(path)} entry {identifier}"
        if not identifier.strip():
            source.note(where, "an image id must not be empty")
        elif not isinstance(picture, str) or not picture.strip():
            source.note(where, f"the path of a picture must be a non-empty string, not {picture!r}")
        elif leaves_root(picture):
            source.note(where, f"the path {picture!r} leads out of the data folder")
        else:
            listed[identifier] = locate(picture)
    return listed


def _locator(tree: Tree) -> Callable[[str], File]:
    """Returns a function from "./dev/x.png" to the picture file; each top folder such as "dev" is located once."""

    @cache
    def base(top: str) -> Path:
        candidates = (tree.root / folder for folder in _PICTURE_FOLDERS)
        return next((folder for folder in candidates if tree.exists(folder / top)), tree.root)

    def locate(picture: str) -> File:
        relative = PurePosixPath(picture)
        if not relative.parts:
            return tree.file(tree.root)
        folder = base(relative.parts[0])
        flat = folder / relative.parts[0] / relative.name
        is_flat = len(relative.parts) > 2 and not tree.exists(folder / relative) and tree.exists(flat)
        return tree.file(flat if is_flat else folder / relative)

    return locate


def read_triplets(
    source: Source, path: Path, split: str, listed: Mapping[str, File] | None = None, split_file: str = ""
) -> Iterator[Triplet]:
    """Yields the triplets of an annotation file; with `listed` None image ids are not checked."""
    seen: dict[str, str] = {}
    for record in source.records(path):
        pair_id = _pair_id(record, seen)
        reference = record.known_id("reference", listed, split_file)
        has_target = split != "test" or record.has("target_hard")
        target = record.known_id("target_hard", listed, split_file) if has_target else None
        caption = _caption(record, may_be_empty=split == "test")
        members = _members(record, listed, split_file)
        complete = target is not None or not has_target
        if pair_id is None or reference is None or caption is None or members is None or not complete:
            continue
        subset = tuple(member for member in members if member != reference)
        if target == reference:
            record.note(f"target_hard is the reference itself, {reference!r}")
        elif target is not None and split != "train" and target not in subset:
            record.note(f"target_hard {target!r} is not a member of its img_set")
        else:
            yield Triplet(reference, (caption,), target, pair_id=pair_id, subset=subset)


def _pair_id(record: Record, seen: dict[str, str]) -> str | None:
    value = record.value("pairid")
    if not isinstance(value, int | str) or isinstance(value, bool) or value == "":
        record.note(f"pairid must be a number or a non-empty string, not {value!r}")
        return None
    pair_id = str(value)
    if pair_id in seen:
        record.note(f"pairid {pair_id} appears twice, first at {seen[pair_id]}")
        return None
    seen[pair_id] = record.where
    return pair_id


def _caption(record: Record, may_be_empty: bool) -> str | None:
    value = record.value("caption")
    if may_be_empty and isinstance(value, str):
        return value.strip()
    caption = record.text("caption")
    if caption is not None and is_empty(caption):
        record.note(f"the caption {caption!r} is empty")
        return None
    return caption


def _members(record: Record, listed: Container[str] | None, split_file: str) -> tuple[str, ...] | None:
    image_set = record.record("img_set")
    members = image_set.texts("members") if image_set else None
    unknown = [member for member in members or () if listed is not None and member not in listed]
    for member in unknown:
        record.note(f"img_set member {member!r} is not in {split_file}")
    return None if unknown or members is None else tuple(dict.fromkeys(members))


def ranking_files(
    split: Split, ranked: Sequence[Sequence[str]], within: Sequence[Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """Returns the two files of a submission to CIRR's test server: recall and recall_subset."""
    name = _FILE_SPLIT.get(split.name, split.name)

    def file(metric: str, lists: Sequence[Sequence[str]]) -> dict[str, Any]:
        pairs = {triplet.pair_id: list(names) for triplet, names in zip(split.triplets, lists, strict=True)}
        return {"version": "rc2", "metric": metric, **pairs}

    return {
        f"{name}_pred_ranks_recall.json": file("recall", ranked),
        f"{name}_pred_ranks_recall_subset.json": file("recall_subset", [names[:3] for names in within]),
    }


def recognizes(record: Record, in_array: bool) -> bool:
    """See `DatasetFormat`."""
    return in_array and record.has("pairid")


def read_annotation_file(source: Source, path: Path) -> Iterator[Triplet]:
    """See `DatasetFormat`."""
    return read_triplets(source, path, "test")
