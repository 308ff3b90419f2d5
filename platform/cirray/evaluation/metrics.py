"""Metrics of a ranking. Each is one function, registered in `METRICS`.

A metric takes the ranks of the targets and the dataset's protocol, and returns named values. Retrievers and reports
handle any metric that obeys three rules:
    - Its values are in percent, and their names contain no spaces: "R@10", "Rs@1".
    - It is monotone in each rank, so the best and worst ranks that a truncated list allows give bounds of its value.
    - A value named "...@K" depends on the first K ranks only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, geometric_mean, harmonic_mean
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cirray.data.records import Protocol

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Ranks:
    """Ranks of the targets of Q queries, starting at 0.

    Attributes:
        target: int64 [Q], rank in the gallery.
        subset: int64 [Q], rank in the query's image set; None if the dataset has no image sets.
    """

    target: NDArray[np.int64]
    subset: NDArray[np.int64] | None = None


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


METRICS: tuple[Metric, ...] = (recall, subset_recall)


def measure(ranks: Ranks, protocol: Protocol) -> dict[str, float]:
    """Returns the values of all metrics by name."""
    return {name: value for metric in METRICS for name, value in metric(ranks, protocol).items()}


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


def _percent_within(ranks: NDArray[np.int64], k: int) -> float:
    return 100.0 * float((ranks < k).mean())
