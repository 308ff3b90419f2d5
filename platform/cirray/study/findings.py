"""Measures of each variant, and their agreement with recall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import pstdev
from typing import Any

from cirray.data.table import TripletTable
from cirray.evaluation.metrics import by_k
from cirray.study.measures import alignment, effective_rank, separation, sparsity, spectrum, uniformity
from cirray.study.scores import Scores, sampled_rows
from cirray.study.variants import Variant

# Measure -> whether a higher value means better use of the embedding space.
MEASURES = {"rank": True, "uniformity": False, "separation": True, "alignment": False, "sparsity": False}


@dataclass(frozen=True, slots=True)
class Finding:
    """The measures of one variant.

    Attributes:
        metrics: name -> value in percent, averaged over categories.
        positive, negative: mean cosine of queries with their targets, and with other images of their gallery.
        separation, alignment: see `measures`.
        rank, uniformity, sparsity: of the query features; rank is the effective rank.
        target_rank, target_uniformity: of the target features.
        share, share_deviation: mean and standard deviation of the text weight; None without a learned one.
    """

    name: str
    metrics: dict[str, float]
    positive: float
    negative: float
    separation: float
    alignment: float
    rank: float
    uniformity: float
    sparsity: float
    target_rank: float
    target_uniformity: float
    share: float | None
    share_deviation: float | None

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as an entry of study.json; "recall" repeats R@K by K."""
        return {**asdict(self), "recall": by_k(self.metrics, "R")}


def measure(variant: Variant, scores: Scores, table: TripletTable) -> Finding:
    """Measures one variant."""
    target = variant.gallery[table.target.unique()]
    query, target = sampled_rows(variant.query), sampled_rows(target)
    text_weight = variant.text_weight
    return Finding(
        name=variant.name,
        metrics=dict(variant.found[-1].metrics),
        positive=float(scores.positive.mean()),
        negative=float(scores.negative.mean()),
        separation=separation(scores.positive, scores.negative),
        alignment=alignment(variant.query, variant.gallery[table.target]),
        rank=effective_rank(scores.spectrum),
        uniformity=uniformity(query),
        sparsity=sparsity(query),
        target_rank=effective_rank(spectrum(target)),
        target_uniformity=uniformity(target),
        share=None if text_weight is None else float(text_weight.mean()),
        share_deviation=None if text_weight is None else float(text_weight.std(correction=0)),
    )


def most_discriminative_k(findings: Sequence[Finding]) -> int:
    """Returns the K whose R@K varies most between variants; near 0 or 100 percent it does not discriminate."""
    combined = _combined(findings)
    deviations = {k: pstdev(found.metrics[f"R@{k}"] for found in combined) for k in by_k(combined[0].metrics, "R")}
    return int(max(deviations, key=lambda k: deviations[k]))


def agreement(findings: Sequence[Finding], k: int) -> dict[str, tuple[int, int]]:
    """Counts the pairs of variants in which a measure agrees with recall.

    The variants "image only" and "text only" are left out, as they combine nothing.

    Returns:
        measure -> (concordant pairs, pairs that differ in both the measure and R@k). Kendall's tau is 2 x concordant /
        pairs - 1.
    """
    metric, counts = f"R@{k}", {}
    for name, higher_is_better in MEASURES.items():
        sign = 1 if higher_is_better else -1
        steps = [
            (getattr(b, name) - getattr(a, name)) * sign * (b.metrics[metric] - a.metrics[metric])
            for a, b in combinations(_combined(findings), 2)
        ]
        counts[name] = (sum(step > 0 for step in steps), sum(step != 0 for step in steps))
    return counts


def _combined(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if not finding.name.endswith(" only")]
