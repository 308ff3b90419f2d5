"""What the study finds in each variant, and whether it goes with recall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import pstdev
from typing import Any

from cirray.data.table import TripletTable
from cirray.evaluation.metrics import by_k
from cirray.study.measures import alignment, effective_rank, separation, sparsity, spectrum, uniformity
from cirray.study.scores import Scores, some_rows
from cirray.study.variants import Variant

# Whether more of the measure is more use of the space.
MEASURES = {"rank": True, "uniformity": False, "separation": True, "alignment": False, "sparsity": False}


@dataclass(frozen=True, slots=True)
class Finding:
    """The numbers of one variant.

    Attributes:
        metrics: name -> value in percent, the average of categories.
        positive, negative: mean cosine of queries with their targets, and with other images of their gallery.
        separation, alignment: see `measures`.
        rank, uniformity, sparsity: of the query features.
        target_rank, target_uniformity: of the target features.
        share, share_deviation: mean and deviation of lambda, None where nothing is balanced.
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
        """Returns what study.json holds; "recall" repeats R@K by K."""
        return {**asdict(self), "recall": by_k(self.metrics, "R")}


def find(variant: Variant, scores: Scores, table: TripletTable) -> Finding:
    """Measures one variant."""
    target = variant.gallery[table.target.unique()]
    query, target = some_rows(variant.query), some_rows(target)
    share = variant.share
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
        share=None if share is None else float(share.mean()),
        share_deviation=None if share is None else float(share.std(correction=0)),
    )


def telling(findings: Sequence[Finding]) -> int:
    """Returns the K whose R@K tells the variants apart best: where recall is near 0 or 100 it says nothing."""
    combined = _combined(findings)
    deviations = {k: pstdev(found.metrics[f"R@{k}"] for found in combined) for k in by_k(combined[0].metrics, "R")}
    return int(max(deviations, key=lambda k: deviations[k]))


def agreement(findings: Sequence[Finding], k: int) -> dict[str, tuple[int, int]]:
    """Returns for each measure in how many pairs of variants the one that is better by it also has the higher R@k, and
    how many pairs differ in both: Kendall's tau is 2 x share - 1. Image and text alone are no combinations and are
    left out."""
    name, found = f"R@{k}", {}
    for measure, more in MEASURES.items():
        steps = [
            (getattr(b, measure) - getattr(a, measure)) * (1 if more else -1) * (b.metrics[name] - a.metrics[name])
            for a, b in combinations(_combined(findings), 2)
        ]
        found[measure] = (sum(step > 0 for step in steps), sum(step != 0 for step in steps))
    return found


def _combined(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if not finding.name.endswith(" only")]
