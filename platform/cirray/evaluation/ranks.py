"""The input of all metrics: the ranks of a category's known answers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cirray.data.labels import QueryLabels


@dataclass(frozen=True, slots=True)
class Ranks:
    """Ranks of the annotated images of Q queries, starting at 0.

    Attributes:
        target: int64 [Q], rank of the target in the gallery.
        subset: int64 [Q], rank of the target in the query's image set; None if the dataset has no image sets.
        positives: int64 [Q, P], ranks in the gallery of all right answers, the target among them, in any order; -1
            pads short lists; None if the dataset knows only targets.
        hard_negatives: int64 [Q, H], ranks in the gallery of known wrong answers, padded with -1; None if the dataset
            knows none.
        labels: the paraphrases and aspects of the queries.
    """

    target: NDArray[np.int64]
    subset: NDArray[np.int64] | None = None
    positives: NDArray[np.int64] | None = None
    hard_negatives: NDArray[np.int64] | None = None
    labels: QueryLabels = field(default_factory=QueryLabels)
