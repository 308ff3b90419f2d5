"""The records that all datasets are read into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cirray.storage.tree import File


@dataclass(frozen=True, slots=True)
class Triplet:
    """A reference image, what is wanted instead, and the target image.

    Attributes:
        reference: id of the reference image.
        captions: the relative captions as annotated; at least one, and none empty (but for one query of CIRR's test
            split, whose submission needs every pair).
        target: id of the target image; None where a test split keeps it secret.
        category: FashionIQ category; "all" elsewhere.
        pair_id: CIRR's pair id; "" elsewhere.
        subset: CIRR's image set without the reference: five ids, fewer where `skip_bad` left some out; () elsewhere.
        relation: what is changed, where the data says so ("colour"); nothing but the embedding study looks at it.
    """

    reference: str
    captions: tuple[str, ...]
    target: str | None
    category: str = "all"
    pair_id: str = ""
    subset: tuple[str, ...] = ()
    relation: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """The triplets of one split and, for each category, the ids they are ranked among."""

    name: str
    triplets: tuple[Triplet, ...]
    galleries: Mapping[str, tuple[str, ...]]


Selection = Literal["mean-r10-r50", "mean-all", "headline", "arithmetic", "harmonic", "geometric"]


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a dataset is scored.

    Attributes:
        name: says which protocol a number used; printed beside every number.
        exclude_reference: whether a query's own reference is removed from its ranking (CIRR) or not (FashionIQ).
        ks: the K of R@K.
        subset_ks: the K of R_subset@K; () where there are no subsets.
        selection: which number of the validation picks the best epoch.
    """

    name: str
    exclude_reference: bool
    ks: tuple[int, ...] = (1, 5, 10, 50)
    subset_ks: tuple[int, ...] = ()
    selection: Selection = "mean-all"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the input: where, and what was expected."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def with_problems(head: str, problems: Sequence[Problem], most: int) -> str:
    """Returns a text of `head`, the first `most` problems, a line each, and how many more there are."""
    lines = [head, *(f"  {problem}" for problem in problems[:most])]
    lines += [f"  and {len(problems) - most} more"] if len(problems) > most else []
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Everything that training and evaluation need to know of a dataset.

    Attributes:
        name: dataset name, such as "fashioniq".
        images: id -> picture file.
        contents: id -> SHA-256 (hex) of the picture file's bytes.
        titles: id -> title, for those images that have one.
        splits: split name ("train", "val", "test") -> split.
        protocol: how it is scored.
        skipped: what was left out with `data.skip_bad`.
    """

    name: str
    images: Mapping[str, File]
    contents: Mapping[str, str]
    titles: Mapping[str, str]
    splits: Mapping[str, Split]
    protocol: Protocol
    skipped: tuple[Problem, ...] = ()
