"""Metrics of a ranking. Each is one function, registered in `METRICS`.

A metric takes the ranks of the known answers and the dataset's protocol, and returns named values; {} if the dataset
lacks the annotation that it needs. Retrievers and reports handle any metric that obeys three rules:
    - Its values are in percent, and their names contain no spaces: "R@10", "Rs@1". "mAP[negation]@10" is "mAP@10" of
      the queries with an aspect, "mAP-spread@10" a property of "mAP@10".
    - It is monotone in each rank, so the best and worst ranks that a truncated list allows give bounds of its value;
      or it is in `NOT_MONOTONE`, and has "@K" in all names.
    - A value named "...@K" depends on the first K ranks only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, geometric_mean, harmonic_mean
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cirray.data.records import Protocol
from cirray.evaluation.average_precision import aspect_precision, mean_average_precision
from cirray.evaluation.hard_negatives import hard_negatives
from cirray.evaluation.paraphrases import paraphrase_spread
from cirray.evaluation.ranks import Ranks

V = TypeVar("V")

Metric = Callable[[Ranks, Protocol], dict[str, float]]


def recall(ranks: Ranks, protocol: Protocol) -> dict[str, float]:
    """R@K: percentage of queries whose target is among the first K of the gallery."""
    return recall_at(ranks, protocol.ks)


def subset_recall(ranks: Ranks, protocol: Protocol) -> dict[str, float]:
    """Rs@K (CIRR's R_subset@K): percentage of queries whose target is among the first K of its image set."""
    if ranks.subset is None:
        return {}
    return {f"Rs@{k}": _percent_within(ranks.subset, k) for k in protocol.subset_ks}


def recall_at(ranks: Ranks, ks: Sequence[int]) -> dict[str, float]:
    """Returns R@K for each K of `ks`, without a protocol."""
    return {f"R@{k}": _percent_within(ranks.target, k) for k in ks}


METRICS: tuple[Metric, ...] = (
    recall,
    subset_recall,
    mean_average_precision,
    hard_negatives,
    aspect_precision,
    paraphrase_spread,
)
NOT_MONOTONE: frozenset[Metric] = frozenset({paraphrase_spread})


def measure(ranks: Ranks, protocol: Protocol) -> dict[str, float]:
    """Returns the values of all metrics by name."""
    return {name: value for metric in METRICS for name, value in metric(ranks, protocol).items()}


def measure_bounds(best: Ranks, worst: Ranks, protocol: Protocol) -> dict[str, tuple[float, float]]:
    """Returns the minimum and maximum of all metrics by name, over the ranks between `best` and `worst`.

    A metric in `NOT_MONOTONE` may have any value from 0 to 100 if it depends on a rank that is not determined.
    """
    if best is worst:
        return {name: (value, value) for name, value in measure(best, protocol).items()}
    bounds = {}
    for metric in METRICS:
        at_worst = metric(worst, protocol)
        for name, value in metric(best, protocol).items():
            bounds[name] = min(value, at_worst[name]), max(value, at_worst[name])
            if metric in NOT_MONOTONE and not _is_determined(name, best, worst):
                bounds[name] = 0.0, 100.0
    return bounds


def _is_determined(name: str, best: Ranks, worst: Ranks) -> bool:
    """Whether the first K ranks that determine a metric "...@K" are the same in both."""
    k = int(name.partition("@")[2])
    low, high = (np.minimum(ranks_behind(name, ranks), k) for ranks in (best, worst))
    return bool((low == high).all())


def selection_value(metrics: Mapping[str, float], protocol: Protocol) -> float:
    """Returns the value that selects the best epoch, by the protocol's `selection`.

    Only the protocol's recalls count; other metrics are ignored.
    """
    recalls = [*(metrics[f"R@{k}"] for k in protocol.ks), *(metrics[f"Rs@{k}"] for k in protocol.subset_ks)]
    match protocol.selection:
        case "mean-r10-r50":
            return fmean([metrics["R@10"], metrics["R@50"]])
        case "headline":
            return fmean([metrics["R@5"], metrics["Rs@1"]])
        case "harmonic":
            return harmonic_mean(recalls)
        case "geometric":
            return geometric_mean(recalls) if min(recalls) > 0 else 0.0
        case "arithmetic" | "mean-all":
            return fmean(recalls)


def by_k(metrics: Mapping[str, V], kind: str) -> dict[str, V]:
    """Returns the values of one kind of metric by K, for reports.

    `by_k({"R@10": 40.0, "Rs@1": 20.0}, "R")` is `{"10": 40.0}`.
    """
    prefix = f"{kind}@"
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}


def kind_of(name: str) -> str:
    """Returns the kind of a metric: "mAP" of "mAP@5", "mAP[negation]@10" and "mAP-spread@10"."""
    return re.split(r"[@\[-]", name, maxsplit=1)[0]


def is_detail(name: str) -> bool:
    """Whether a metric is a part or property of another one, such as "mAP[negation]@10" or "R-spread@10", or of the
    answers, such as "asked-kept@10"."""
    return kind_of(name) != name.partition("@")[0]


def ranks_behind(name: str, ranks: Ranks) -> NDArray[np.int64]:
    """Returns the ranks that determine a metric, int64 [Q, n]; -1 for padding and for queries that do not count."""
    match kind_of(name):
        case "Rs" if ranks.subset is not None:
            return ranks.subset[:, None]
        case "HN" | "HNR" if ranks.hard_negatives is not None:
            return ranks.hard_negatives
        case "mAP":
            known = ranks.target[:, None] if ranks.positives is None else ranks.positives
            counts = ranks.labels.aspects.get(part_of(name))
            return known if counts is None else np.where(counts[:, None], known, -1)
    return ranks.target[:, None]


def part_of(name: str) -> str:
    """Returns the part in a metric's name: "negation" of "mAP[negation]@10"; "" if it has none."""
    return name.partition("[")[2].partition("]")[0]


def _percent_within(ranks: NDArray[np.int64], k: int) -> float:
    return 100.0 * float((ranks < k).mean())
