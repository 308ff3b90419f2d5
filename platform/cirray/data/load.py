"""Datasets: from annotation files and pictures to checked triplets.

    data = load_dataset(config.data, cache, config.preprocess.background)

Everything is checked before work starts. One error lists all problems, with file and line.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace

from cirray.config.data import Data
from cirray.data.audit import audit_pictures
from cirray.data.formats import load_format
from cirray.data.images import Background
from cirray.data.parsing import listing
from cirray.data.records import Dataset, Problem, Split
from cirray.errors import ConfigError, DataError
from cirray.storage.location import Location


def load_dataset(
    data: Data, cache: Location, background: Background, splits: Sequence[str] = ("train", "val")
) -> Dataset:
    """Reads a dataset's annotations, checks all of its pictures and leaves out bad ones if told to.

    Args:
        data: which dataset; with `skip_bad`, wrong records, broken pictures and the triplets that need them
            are left out and listed in the dataset's `skipped`.
        cache: where results of checks are cached: the feature store's location.
        background: what transparent pictures are laid on.
        splits: which of "train", "val" and "test" to read.

    Raises:
        ConfigError: `data.root` is not a folder.
        LocationError: its URI holds nothing, or cannot be reached.
        DataError: lists all that is wrong; with `skip_bad` only if files are missing or a split has nothing
            left.
    """
    reader = load_format(data.format)
    _check_root(data, reader.EXPECTED)
    annotations = reader.read(data, splits)
    if annotations.fatal:
        found = [*annotations.fatal, *annotations.problems]
        raise DataError(
            listing(data.root, found, "the files must be there and readable; pictures were not checked yet")
        )
    contents, problems = audit_pictures(annotations.images, annotations.image_sources, cache, background)
    problems = [*annotations.problems, *problems]
    if problems and not data.skip_bad:
        raise DataError(listing(data.root, problems, "fix them, or leave them out with --data.skip-bad"))
    parts = {name: _without(split, contents) for name, split in annotations.splits.items()}
    _check_left(data, parts, problems)
    return Dataset(
        name=annotations.name,
        images={identifier: path for identifier, path in annotations.images.items() if identifier in contents},
        contents=contents,
        titles={identifier: title for identifier, title in annotations.titles.items() if identifier in contents},
        splits=parts,
        protocol=annotations.protocol,
        skipped=(*problems, *_dropped(annotations.splits, parts)),
    )


def _check_root(data: Data, expected: str) -> None:
    if not data.root:
        raise ConfigError(f"data.root is not set: give the folder or URI that holds {expected}")
    root = Location.parse(data.root)
    if not root.is_remote and not root.local.is_dir():
        state = "is not a folder" if root.local.exists() else "does not exist"
        raise ConfigError(f"data.root {data.root} {state}: give the folder that holds {expected}")


def _without(split: Split, good: Container[str]) -> Split:
    """Leaves out of a split what needs a picture that is not good."""
    triplets = tuple(
        replace(triplet, subset=tuple(member for member in triplet.subset if member in good))
        for triplet in split.triplets
        if triplet.reference in good and (triplet.target is None or triplet.target in good)
    )
    galleries = {
        category: tuple(identifier for identifier in ids if identifier in good)
        for category, ids in split.galleries.items()
    }
    return Split(split.name, triplets, galleries)


def _dropped(before: dict[str, Split], after: dict[str, Split]) -> list[Problem]:
    counts = {name: len(split.triplets) - len(after[name].triplets) for name, split in before.items()}
    return [
        Problem(f"split {name}", f"left out {count} triplets that need a broken picture")
        for name, count in counts.items()
        if count
    ]


def _check_left(data: Data, splits: dict[str, Split], problems: Sequence[Problem]) -> None:
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
        raise DataError(listing(data.root, [*empty, *problems], "each split needs triplets"))
