"""Labels of queries, which metrics group by: paraphrases of one query, and aspects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cirray.data.records import Triplet


@dataclass(frozen=True, slots=True)
class QueryLabels:
    """The labels of Q queries, each the wording of one triplet.

    Attributes:
        paraphrases: int64 [Q], equal numbers for paraphrases of one query; None if no query has two wordings.
        aspects: name of an aspect -> bool [Q], whether a query has it; {} without aspects.
    """

    paraphrases: NDArray[np.int64] | None = None
    aspects: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    @classmethod
    def of(cls, triplets: Sequence[Triplet]) -> QueryLabels:
        """Returns the labels of triplets; one without a query name is a query of its own."""
        numbers: dict[str | int, int] = {}
        query = [numbers.setdefault(triplet.query or row, len(numbers)) for row, triplet in enumerate(triplets)]
        names = sorted({aspect for triplet in triplets for aspect in triplet.aspects})
        return cls(
            np.array(query, dtype=np.int64) if len(numbers) < len(query) else None,
            {name: np.array([name in triplet.aspects for triplet in triplets], dtype=np.bool_) for name in names},
        )

    def rows(self, rows: NDArray[np.int64]) -> QueryLabels:
        """Returns the labels of some of the queries."""
        return QueryLabels(
            None if self.paraphrases is None else self.paraphrases[rows],
            {name: mask[rows] for name, mask in self.aspects.items()},
        )
