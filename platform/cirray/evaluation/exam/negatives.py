"""The measures of an exam's negative queries, for one searcher."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cirray.data.exam import Exam, Negative
from cirray.evaluation.attributes_kept import AttributeTable, shares
from cirray.evaluation.average_precision import average_precision
from cirray.evaluation.exam.parts import K, answer_ranks, percent, shares_kept
from cirray.evaluation.exam.searcher import Searcher
from cirray.models.composition import compose_references

# Name of the same queries without what is not wanted.
_WITHOUT = "without"


def negatives(searcher: Searcher, exam: Exam) -> dict[str, float]:
    """Returns the measures of the queries with something that is not wanted, in percent; {} if there are none.

    `compose_references` makes their query features. mAP and the share of the first K answers with the unwanted value
    are measured without what is not wanted too.

    Args:
        searcher: ranks them.
        exam: the exam.
    """
    if not exam.negatives:
        return {}
    queries = [negative.query for negative in exam.negatives]
    plain = searcher.queries([query.references[0] for query in queries], [query.captions[0] for query in queries])
    composed = compose_references(plain[:, None], unwanted=_features(searcher, exam.negatives)[:, None])
    rankings = {"": searcher.rank(composed), f"[{_WITHOUT}]": searcher.rank(plain)}
    precision = {
        name: average_precision(answer_ranks(searcher, queries, ranking)[0], K) for name, ranking in rankings.items()
    }
    found = {f"mAP@{K}": percent(precision[""])}
    for aspect in dict.fromkeys(aspect for query in queries for aspect in query.aspects):
        chosen = np.array([aspect in query.aspects for query in queries])
        found[f"mAP[{aspect}]@{K}"] = percent(precision[""][chosen])
    found[f"mAP[{_WITHOUT}]@{K}"] = percent(precision[f"[{_WITHOUT}]"])
    table = AttributeTable.of({identifier: exam.items[identifier] for identifier in searcher.ids})
    unwanted = table.wanted([negative.unwanted for negative in exam.negatives])
    for name, ranking in rankings.items():
        found[f"unwanted{name}@{K}"] = percent(shares(table.values, ranking, unwanted, K))
    found |= shares_kept(searcher, exam, queries, rankings[""])
    return {f"not {name}": value for name, value in found.items()}


def _features(searcher: Searcher, negatives: Sequence[Negative]) -> Tensor:
    """Returns the unit feature of what each query does not want, [Q, d]."""
    texts = list(dict.fromkeys(negative.text for negative in negatives if negative.text))
    features = dict(zip(texts, searcher.unwanted(texts), strict=True)) if texts else {}
    return torch.stack(
        [features[negative.text] if negative.text else searcher.image(negative.id) for negative in negatives]
    )
