"""More train triplets for a dataset: triplets from attributes, from feedback, or from another annotation.

Triplets that use an image of a scored split, such as val, are left out, so that scores stay comparable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from cirray.config.data import Data
from cirray.data.formats.triplets import CATALOG, read_triplets
from cirray.data.images import Background
from cirray.data.load import load_dataset
from cirray.data.parsing import Source, problem_report
from cirray.data.records import Dataset, Problem, Split
from cirray.errors import DataError
from cirray.storage.location import Location

V = TypeVar("V")

GALLERY = "all"


def load_extra(folder: str, dataset: Dataset, cache: Location, background: Background, skip_bad: bool) -> Dataset:
    """Reads a folder of more train triplets. A folder without catalog.jsonl uses the images of `dataset`.

    Args:
        folder: folder or URI in the format "triplets"; only its split "train" is read.
        cache, background, skip_bad: as for `load_dataset`.

    Raises:
        LocationError: a URI holds nothing, or cannot be reached.
        DataError: lists all problems.
    """
    source = Source(Location.parse(folder))
    if source.tree.exists(source.root / CATALOG):
        return load_dataset(Data(root=folder, skip_bad=skip_bad), cache, background, ("train",))
    file = source.root / "triplets.train.jsonl"
    triplets = tuple(read_triplets(source, file, "train", dataset.contents, "data.root"))
    problems = [*source.fatal, *source.problems]
    if source.fatal or (problems and not skip_bad):
        raise DataError(problem_report(folder, problems, "fix them, or leave them out with --data.skip-bad"))
    splits = {"train": Split("train", triplets, {})}
    return Dataset(dataset.name, {}, {}, {}, splits, dataset.protocol, tuple(problems))


def add_triplets(dataset: Dataset, extra: Dataset, source: str) -> Dataset:
    """Adds the train triplets of `extra` to the train split of `dataset`, with their images and titles.

    Args:
        dataset: the dataset that is trained on and scored.
        extra: a dataset in the format "triplets".
        source: the folder of `extra`, for messages.

    Returns:
        The dataset with more train triplets. The other splits and their galleries are unchanged; how many triplets
        were left out is in `skipped`.

    Raises:
        DataError: an id belongs to different pictures in the two datasets.
    """
    _check_same_pictures(dataset, extra, source)
    scored = _scored_images(dataset)
    added = extra.splits["train"].triplets
    kept = tuple(triplet for triplet in added if triplet.reference not in scored and triplet.target not in scored)
    train = dataset.splits["train"]
    images = [image for image in extra.images if image not in scored]
    galleries = {**train.galleries, GALLERY: _union(train.galleries.get(GALLERY, ()), images)}
    dropped = len(added) - len(kept)
    left_out = [Problem(source, f"left out {dropped:,} of {len(added):,} triplets, which use images of val")]
    return replace(
        dataset,
        images=_joined(dataset.images, extra.images),
        contents=_joined(dataset.contents, extra.contents),
        titles=_joined(dataset.titles, extra.titles),
        splits={**dataset.splits, "train": Split(train.name, (*train.triplets, *kept), galleries)},
        skipped=(*dataset.skipped, *extra.skipped, *(left_out if dropped else ())),
    )


def _scored_images(dataset: Dataset) -> set[str]:
    """Returns the images of the scored splits: of their triplets, and of galleries that train does not share."""
    trained = {image for gallery in dataset.splits["train"].galleries.values() for image in gallery}
    scored: set[str] = set()
    for name, split in dataset.splits.items():
        if name != "train":
            scored |= {image for gallery in split.galleries.values() for image in gallery} - trained
            scored |= {image for triplet in split.triplets for image in (triplet.reference, *triplet.answers)}
    return scored


def _joined(first: Mapping[str, V], second: Mapping[str, V]) -> dict[str, V]:
    """Returns both mappings as one, in the order of the first; the first one's values win."""
    return {**first, **second, **first}


def _union(gallery: Sequence[str], images: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*gallery, *images)))


def _check_same_pictures(dataset: Dataset, extra: Dataset, source: str) -> None:
    problems = [
        Problem(f"id {image!r}", f"is {extra.images[image]} here and {dataset.images[image]} in data.root")
        for image, content in extra.contents.items()
        if dataset.contents.get(image, content) != content
    ]
    if problems:
        raise DataError(problem_report(source, problems, "an id must belong to the same picture in both: rename them"))
