"""The common representation of all datasets: triplets, splits, protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cirray.storage.tree import File


@dataclass(frozen=True, slots=True)
class Triplet:
    """A reference image, relative captions and a target image.

    Attributes:
        reference: id of the reference image.
        captions: the relative captions as annotated, at least one; none is empty, except one query of CIRR's test
            split, which is kept because a submission needs every pair.
        target: id of the target image; None if a test split does not publish it.
        category: FashionIQ category; "all" elsewhere.
        pair_id: CIRR's pair id or CIRCO's query id; "" elsewhere.
        subset: CIRR's image set without the reference: five ids, fewer if `skip_bad` removed some; () elsewhere.
        relation: the kind of change, such as "colour", if annotated; used only by the embedding study.
        positives: ids of all right answers, the target among them; () if only the target is known.
        hard_negatives: ids of known wrong answers that are easily taken for right ones.
        aspects: what the query tests, such as CIRCO's semantic aspect "negation".
        query: triplets with the same non-empty name are paraphrases of one query.
    """

    reference: str
    captions: tuple[str, ...]
    target: str | None
    category: str = "all"
    pair_id: str = ""
    subset: tuple[str, ...] = ()
    relation: str = ""
    positives: tuple[str, ...] = ()
    hard_negatives: tuple[str, ...] = ()
    aspects: tuple[str, ...] = ()
    query: str = ""

    @property
    def answers(self) -> tuple[str, ...]:
        """All right answers: `positives`, or the target alone; () if none is known."""
        return self.positives or (() if self.target is None else (self.target,))


@dataclass(frozen=True, slots=True)
class Split:
    """The triplets of one split, and the gallery (image ids) of each category."""

    name: str
    triplets: tuple[Triplet, ...]
    galleries: Mapping[str, tuple[str, ...]]


Selection = Literal["mean-r10-r50", "mean-all", "headline", "arithmetic", "harmonic", "geometric"]


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a dataset is scored.

    Attributes:
        name: describes the protocol, with the number of images if `skip_bad` left some out; printed with every score.
        exclude_reference: whether a query's reference image is removed from its ranking (CIRR) or not (FashionIQ).
        ks: the K of R@K.
        subset_ks: the K of R_subset@K; () without subsets.
        precision_ks: the K of mAP@K, for datasets with several right answers; the default is CIRCO's.
        selection: the validation score that selects the best epoch.
    """

    name: str
    exclude_reference: bool
    ks: tuple[int, ...] = (1, 5, 10, 50)
    subset_ks: tuple[int, ...] = ()
    precision_ks: tuple[int, ...] = (5, 10, 25, 50)
    selection: Selection = "mean-all"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of the input: its position, and what was expected."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def with_problems(head: str, problems: Sequence[Problem], most: int) -> str:
    """Returns `head`, the first `most` problems on a line each, and the number of omitted ones."""
    lines = [head, *(f"  {problem}" for problem in problems[:most])]
    lines += [f"  and {len(problems) - most} more"] if len(problems) > most else []
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A validated dataset.

    Attributes:
        name: dataset name, such as "fashioniq".
        images: id -> picture file.
        contents: id -> SHA-256 (hex) of the picture file's bytes.
        titles: id -> title, of the images that have one.
        splits: split name ("train", "val", "test") -> split.
        protocol: how the dataset is scored.
        skipped: problems that `data.skip_bad` left out.
    """

    name: str
    images: Mapping[str, File]
    contents: Mapping[str, str]
    titles: Mapping[str, str]
    splits: Mapping[str, Split]
    protocol: Protocol
    skipped: tuple[Problem, ...] = ()
