"""What can be scored: a `Retriever` ranks the targets of queries, and `evaluate` scores it by a dataset's protocol.

Cosine ranking over features is one (evaluation/cosine.py), ranked lists of names from any system are another
(evaluation/ranked_lists.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from cirray.data.records import Protocol
from cirray.evaluation.metrics import Ranks, measure

AVERAGE = "average"


@dataclass(frozen=True, slots=True)
class Ranking:
    """Where a retriever ranked the targets of one category's queries.

    A ranking that was cut knows a rank only by its bounds. A complete one has the same ranks twice.

    Attributes:
        gallery: how many images were ranked.
        best: the ranks if every target that was cut off came right after the cut.
        worst: the ranks if every target that was cut off came last.
    """

    gallery: int
    best: Ranks
    worst: Ranks


class Retriever(ABC):
    """Anything that ranks a gallery for queries whose targets are known."""

    @abstractmethod
    def categories(self) -> Sequence[str]:
        """Returns the names of the categories; each has a gallery and queries of its own."""

    @abstractmethod
    def rank(self, category: str, exclude_reference: bool) -> Ranking:
        """Ranks the targets of a category's queries.

        Args:
            exclude_reference: leave each query's reference image out of its ranking.
        """


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The metrics of one category.

    Attributes:
        queries, gallery: how many queries were ranked among how many images.
        metrics: name -> value in percent.
        undecided: name -> least and greatest value, of metrics that the ranking was too short to decide.
    """

    category: str
    queries: int
    gallery: int
    metrics: dict[str, float]
    undecided: dict[str, tuple[float, float]]


def evaluate(retriever: Retriever, protocol: Protocol) -> list[Evaluation]:
    """Scores every category; the average over categories comes last where there are several.

    Raises:
        ValueError: there are no queries to score.
    """
    results = [
        score_ranking(category, retriever.rank(category, protocol.exclude_reference), protocol)
        for category in retriever.categories()
    ]
    return [*results, average(results)] if len(results) > 1 else results


def score_ranking(category: str, ranking: Ranking, protocol: Protocol) -> Evaluation:
    """Computes the metrics of one category's ranking.

    Raises:
        ValueError: it has no queries.
    """
    queries = len(ranking.best.target)
    if not queries:
        raise ValueError(f"category {category} has no queries: there is nothing to score")
    best, worst = measure(ranking.best, protocol), measure(ranking.worst, protocol)
    bounds = {name: (min(value, worst[name]), max(value, worst[name])) for name, value in best.items()}
    return Evaluation(
        category,
        queries,
        ranking.gallery,
        metrics={name: least for name, (least, most) in bounds.items() if least == most},
        undecided={name: (least, most) for name, (least, most) in bounds.items() if least < most},
    )


def average(results: Sequence[Evaluation]) -> Evaluation:
    """Returns the mean over categories, each counting the same, as the FashionIQ literature reports it.

    A metric that one category leaves undecided is undecided on average; one that a category does not have is left out.
    """
    bounds = [{name: (value, value) for name, value in result.metrics.items()} | result.undecided for result in results]
    means = {
        name: (fmean(found[name][0] for found in bounds), fmean(found[name][1] for found in bounds))
        for name in bounds[0]
        if all(name in found for found in bounds)
    }
    open_ = {name for result in results for name in result.undecided}
    return Evaluation(
        AVERAGE,
        queries=sum(result.queries for result in results),
        gallery=sum(result.gallery for result in results),
        metrics={name: least for name, (least, _) in means.items() if name not in open_},
        undecided={name: both for name, both in means.items() if name in open_},
    )
