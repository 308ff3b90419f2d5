"""The `Retriever` interface, and its evaluation by a dataset's protocol.

Implementations: cosine similarity of features (evaluation/cosine.py), and ranked lists of names made by any system
(evaluation/ranked_lists.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from cirray.data.records import Protocol
from cirray.evaluation.metrics import measure_bounds
from cirray.evaluation.ranks import Ranks

AVERAGE = "average"


@dataclass(frozen=True, slots=True)
class Ranking:
    """The ranks of the targets and other known answers of one category's queries.

    A truncated ranking gives only bounds of a missing answer's rank; for a complete ranking, `best` is `worst`.

    Attributes:
        gallery: number of ranked images.
        best: lower bound of each rank: missing answers would directly follow the end of their list.
        worst: upper bound of each rank: missing answers would be last.
    """

    gallery: int
    best: Ranks
    worst: Ranks


class Retriever(ABC):
    """Ranks galleries for queries with known targets."""

    @abstractmethod
    def categories(self) -> Sequence[str]:
        """Returns the names of the categories; each has its own gallery and queries."""

    @abstractmethod
    def rank(self, category: str, exclude_reference: bool) -> Ranking:
        """Returns the ranks of the targets and other known answers of a category's queries.

        Args:
            category: name of the category.
            exclude_reference: whether to exclude each query's reference image from its ranking.
        """


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The metrics of one category.

    Attributes:
        category: name of the category, or `AVERAGE`.
        queries: number of queries.
        gallery: number of ranked images.
        metrics: name -> value in percent.
        undecided: name -> minimum and maximum value, for metrics that a truncated ranking does not determine.
    """

    category: str
    queries: int
    gallery: int
    metrics: dict[str, float]
    undecided: dict[str, tuple[float, float]]


def evaluate(
    retriever: Retriever, protocol: Protocol, further: Callable[[str], Mapping[str, float]] | None = None
) -> list[Evaluation]:
    """Returns the evaluation of every category, followed by their average if there are several.

    Args:
        retriever: ranks the galleries.
        protocol: the dataset's protocol.
        further: returns further metrics of a category, those that ranks of known answers do not determine.

    Raises:
        ValueError: a category has no queries.
    """
    results = []
    for category in retriever.categories():
        found = score_ranking(category, retriever.rank(category, protocol.exclude_reference), protocol)
        results.append(replace(found, metrics={**found.metrics, **further(category)}) if further else found)
    return [*results, average(results)] if len(results) > 1 else results


def score_ranking(category: str, ranking: Ranking, protocol: Protocol) -> Evaluation:
    """Computes the metrics of one category's ranking.

    Raises:
        ValueError: the category has no queries.
    """
    queries = len(ranking.best.target)
    if not queries:
        raise ValueError(f"category {category} has no queries to score")
    bounds = measure_bounds(ranking.best, ranking.worst, protocol)
    return Evaluation(
        category,
        queries,
        ranking.gallery,
        metrics={name: low for name, (low, high) in bounds.items() if low == high},
        undecided={name: (low, high) for name, (low, high) in bounds.items() if low < high},
    )


def average(results: Sequence[Evaluation]) -> Evaluation:
    """Returns the unweighted mean over categories, as in the FashionIQ literature.

    A metric that is undecided in one category is undecided in the mean; one that a category lacks is omitted.
    """
    bounds = [{name: (value, value) for name, value in result.metrics.items()} | result.undecided for result in results]
    means = {
        name: (fmean(category[name][0] for category in bounds), fmean(category[name][1] for category in bounds))
        for name in bounds[0]
        if all(name in category for category in bounds)
    }
    undecided = {name for result in results for name in result.undecided}
    return Evaluation(
        AVERAGE,
        queries=sum(result.queries for result in results),
        gallery=sum(result.gallery for result in results),
        metrics={name: low for name, (low, _) in means.items() if name not in undecided},
        undecided={name: mean_bounds for name, mean_bounds in means.items() if name in undecided},
    )
