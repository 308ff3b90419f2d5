"""The measures of the parts of an exam, for one searcher."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cirray.data.exam import Exam, Query
from cirray.data.labels import QueryLabels
from cirray.data.records import Protocol, Triplet
from cirray.evaluation.attributes_kept import AttributeTable, attributes_kept
from cirray.evaluation.average_precision import aspect_precision, average_precision, mean_average_precision
from cirray.evaluation.exam.answer_order import hard_negatives_above
from cirray.evaluation.exam.searcher import Searcher, ranks_of
from cirray.evaluation.hard_negatives import hard_negatives
from cirray.evaluation.paraphrases import paraphrase_spread
from cirray.evaluation.ranks import Ranks
from cirray.evaluation.rounds import RULES, converse_all, summarize
from cirray.models.composition import compose_references

K = 10
PROTOCOL = Protocol("exam", exclude_reference=False, precision_ks=(1, K))
# Measures of one target among several right answers say nothing here.
TARGET_ONLY = "R-"


def one_reference(searcher: Searcher, exam: Exam, order: NDArray[np.int64]) -> dict[str, float]:
    """Returns the measures of the queries with one reference, in percent.

    Args:
        searcher: ranked them.
        exam: the exam.
        order: int64 [Q, I], their rankings, rows of the gallery.
    """
    positives, negatives = answer_ranks(searcher, exam.queries, order)
    ranks = Ranks(positives[:, 0], None, positives, negatives if negatives.size else None, _labels(exam.queries))
    found: dict[str, float] = {}
    for metric in (mean_average_precision, aspect_precision, paraphrase_spread, hard_negatives):
        found |= metric(ranks, PROTOCOL)
    found = {name: value for name, value in found.items() if not name.startswith(TARGET_ONLY)}
    if negatives.size:
        found["HN-above"] = hard_negatives_above(positives, negatives)
    return found | shares_kept(searcher, exam, exam.queries, order)


def two_references(searcher: Searcher, exam: Exam, order: NDArray[np.int64]) -> dict[str, float]:
    """Returns the measures of the queries with two references, in percent; {} if there are none.

    The query feature is that of `compose_references`, from the unit query features of the two references, each with its
    own caption: their sum. The loss
    is the mAP of the queries of one reference that have the same answers, minus that of two references.

    Args:
        searcher: ranks them.
        exam: the exam.
        order: int64 [Q, I], the rankings of the queries with one reference.
    """
    if not exam.two_references:
        return {}
    parts = [
        searcher.queries(
            [query.references[side] for query in exam.two_references],
            [query.captions[side] for query in exam.two_references],
        )
        for side in (0, 1)
    ]
    features = {"both": compose_references(torch.stack(parts, dim=1)), "first": parts[0], "second": parts[1]}
    rankings = {name: searcher.rank(feature) for name, feature in features.items()}
    precision = {
        name: average_precision(answer_ranks(searcher, exam.two_references, ranking)[0], K)
        for name, ranking in rankings.items()
    }
    names = {query.single for query in exam.two_references}
    same = [row for row, query in enumerate(exam.queries) if query.name in names]
    found = {f"two mAP@{K}": percent(precision["both"])}
    if same:
        single = answer_ranks(searcher, [exam.queries[row] for row in same], order[same])[0]
        found[f"two loss mAP@{K}"] = percent(average_precision(single, K)) - found[f"two mAP@{K}"]
    found |= {f"two mAP[{name}]@{K}": percent(precision[name]) for name in ("first", "second")}
    shares = shares_kept(searcher, exam, exam.two_references, rankings["both"])
    return found | {f"two {name}": value for name, value in shares.items()}


def rounds(searcher: Searcher, exam: Exam) -> dict[str, float]:
    """Returns the measures of the search in rounds for both rules of refinement; {} if there are no goals."""
    found: dict[str, float] = {}
    for rule in RULES if exam.goals else ():
        conversations = converse_all(exam.goals, searcher.search, exam.items, rule)
        found |= {f"{rule} {name}": value for name, value in summarize(conversations).items()}
    return found


def single_order(searcher: Searcher, exam: Exam) -> NDArray[np.int64]:
    """Returns the rankings of the queries with one reference, rows of the gallery, int64 [Q, I].

    The reference stays in its ranking, as in the data format "triplets".
    """
    references = [query.references[0] for query in exam.queries]
    return searcher.order(references, [query.captions[0] for query in exam.queries])


def answer_ranks(
    searcher: Searcher, queries: Sequence[Query], order: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the ranks of the right answers, int64 [Q, P], and of the hard negatives, int64 [Q, H]."""
    lists = ([query.positives for query in queries], [query.hard_negatives for query in queries])
    positives, negatives = (
        ranks_of(order, [[searcher.row[identifier] for identifier in ids] for ids in members]) for members in lists
    )
    return positives, negatives


def shares_kept(searcher: Searcher, exam: Exam, queries: Sequence[Query], order: NDArray[np.int64]) -> dict[str, float]:
    """Returns the shares of asked and of kept values that the first answers have, in percent."""
    table = AttributeTable.of({identifier: exam.items[identifier] for identifier in searcher.ids})
    return attributes_kept(table, order[:, :K], [query.asked for query in queries], [query.kept for query in queries])


def _labels(queries: Sequence[Query]) -> QueryLabels:
    """Returns the wordings and aspects of queries."""
    return QueryLabels.of(
        [
            Triplet(query.references[0], query.captions, None, aspects=query.aspects, query=query.name)
            for query in queries
        ]
    )


def percent(values: NDArray[np.float64]) -> float:
    """Returns the mean of values from 0 to 1 in percent."""
    return 100.0 * float(values.mean())
