"""Loads a dataset: annotation files and pictures to validated triplets.

    data = load_dataset(config.data, cache, config.preprocess.background)

All files are validated before any work starts, and all problems are reported together, with file and line.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from cirray.config.data import Data
from cirray.data.audit import audit_pictures
from cirray.data.formats import load_format
from cirray.data.images import Background
from cirray.data.parsing import problem_report
from cirray.data.records import Dataset, Problem, Protocol, Split
from cirray.errors import ConfigError, DataError
from cirray.storage.location import Location


def load_dataset(
    data: Data, cache: Location, background: Background, splits: Sequence[str] = ("train", "val")
) -> Dataset:
    """Reads a dataset's annotations and validates all of its pictures.

    Args:
        data: the dataset's settings; with `skip_bad`, invalid records, broken pictures and the triplets that need
            them are left out and listed in the dataset's `skipped`.
        cache: location of the cache of valid pictures: the feature store's.
        background: colour behind transparent pixels.
        splits: which of "train", "val" and "test" to read.

    Raises:
        ConfigError: `data.root` is not a folder.
        LocationError: its URI holds nothing, or cannot be reached.
        DataError: lists all problems; with `skip_bad` only if annotation files are missing or unreadable, or a
            category of a split has no triplets left.
    """
    reader = load_format(data.format)
    _check_root(data, reader.EXPECTED)
    annotations = reader.read(data, splits)
    if annotations.fatal:
        problems = [*annotations.fatal, *annotations.problems]
        raise DataError(
            problem_report(data.root, problems, "make the files exist and readable; the pictures were not checked")
        )
    contents, problems = audit_pictures(annotations.images, annotations.image_sources, cache, background)
    problems = [*annotations.problems, *problems]
    if problems and not data.skip_bad:
        raise DataError(problem_report(data.root, problems, "fix them, or leave them out with --data.skip-bad"))
    parts = {name: _with_valid_pictures(split, contents) for name, split in annotations.splits.items()}
    _check_not_empty(data, parts, problems)
    return Dataset(
        name=annotations.name,
        images={identifier: path for identifier, path in annotations.images.items() if identifier in contents},
        contents=contents,
        titles={identifier: title for identifier, title in annotations.titles.items() if identifier in contents},
        splits=parts,
        protocol=_labelled(annotations.protocol, annotations.splits, parts),
        skipped=(*problems, *_dropped(annotations.splits, parts)),
    )


def _check_root(data: Data, expected: str) -> None:
    if not data.root:
        raise ConfigError(f"data.root is not set: give the folder or URI that holds {expected}")
    root = Location.parse(data.root)
    if not root.is_remote and not root.local.is_dir():
        state = "is not a folder" if root.local.exists() else "does not exist"
        raise ConfigError(f"data.root {data.root} {state}: give the folder that holds {expected}")


def _with_valid_pictures(split: Split, valid: Container[str]) -> Split:
    """Removes from a split the images without a valid picture, and the triplets that need one."""

    def usable(ids: Sequence[str]) -> tuple[str, ...]:
        return tuple(identifier for identifier in ids if identifier in valid)

    triplets = tuple(
        replace(
            triplet,
            subset=usable(triplet.subset),
            positives=usable(triplet.positives),
            hard_negatives=usable(triplet.hard_negatives),
        )
        for triplet in split.triplets
        if triplet.reference in valid and (triplet.target is None or triplet.target in valid)
    )
    galleries = {category: usable(ids) for category, ids in split.galleries.items()}
    return Split(split.name, triplets, galleries)


def _labelled(protocol: Protocol, before: Mapping[str, Split], after: Mapping[str, Split]) -> Protocol:
    """Returns the protocol with how many images of the scored galleries are left, if some are left out.

    Train is scored only if no other split is read.
    """
    scored = [name for name in before if name != "train"] or list(before)
    listed, left = (_gallery_size(splits, scored) for splits in (before, after))
    return protocol if left == listed else replace(protocol, name=f"{protocol.name}, {left:,} of {listed:,} images")


def _gallery_size(splits: Mapping[str, Split], names: Sequence[str]) -> int:
    return len({image for name in names for gallery in splits[name].galleries.values() for image in gallery})


def _dropped(before: dict[str, Split], after: dict[str, Split]) -> list[Problem]:
    counts = {name: len(split.triplets) - len(after[name].triplets) for name, split in before.items()}
    return [
        Problem(f"split {name}", f"left out {count} triplets that need a broken picture")
        for name, count in counts.items()
        if count
    ]


def _check_not_empty(data: Data, splits: dict[str, Split], problems: Sequence[Problem]) -> None:
    """Raises DataError if a category of a split has no triplet."""
    empty = [
        Problem(
            f"split {name}",
            f"has no usable triplets{'' if category == 'all' else f' of category {category}'}",
        )
        for name, split in splits.items()
        for category in split.galleries
        if not any(triplet.category == category for triplet in split.triplets)
    ]
    if empty:
        raise DataError(problem_report(data.root, [*empty, *problems], "each split needs triplets"))
