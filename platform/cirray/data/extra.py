"""More train triplets for a dataset: triplets from attributes, from feedback, or from another annotation.

Triplets that use an image of a scored split, such as val, are left out, so that scores stay comparable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from cirray.data.parsing import problem_report
from cirray.data.records import Dataset, Problem, Split
from cirray.errors import DataError

V = TypeVar("V")

GALLERY = "all"


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
            scored |= {image for triplet in split.triplets for image in (triplet.reference, triplet.target) if image}
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
