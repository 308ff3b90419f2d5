"""Scores combining functions on a split: the rows of the paper's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cirray.data.records import Protocol
from cirray.data.table import TripletTable
from cirray.evaluation.cosine import CosineRetriever
from cirray.evaluation.metrics import by_k
from cirray.evaluation.retriever import AVERAGE, Evaluation, evaluate
from cirray.features.frozen import FrozenFeatures
from cirray.models.combining import CombiningFunction


@dataclass(frozen=True, slots=True)
class Result:
    """One row of a table: a combining function on a category, before or after stage 1."""

    split: str
    fine_tuned: bool
    combining: str
    found: Evaluation

    def to_json(self) -> dict[str, Any]:
        """Returns a row of report.json. "recall" and "recall_subset" repeat the recalls of "metrics" by K, as before
        there were others."""
        metrics = {name: round(value, 4) for name, value in self.found.metrics.items()}
        subset = by_k(metrics, "Rs")
        return {
            "split": self.split,
            "category": self.found.category,
            "fine_tuned": self.fine_tuned,
            "combining": self.combining,
            "recall": by_k(metrics, "R"),
            **({"recall_subset": subset} if subset else {}),
            "metrics": metrics,
            "queries": self.found.queries,
            "gallery": self.found.gallery,
        }


def row_metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """Returns the metrics of a row of report.json by name; reports of earlier versions have recalls by K only."""
    if "metrics" in row:
        return dict(row["metrics"])
    recall = {f"R@{k}": value for k, value in row["recall"].items()}
    return recall | {f"Rs@{k}": value for k, value in row.get("recall_subset", {}).items()}


@torch.inference_mode()
def score(
    split: str,
    table: TripletTable,
    protocol: Protocol,
    features: FrozenFeatures,
    functions: Mapping[str, CombiningFunction],
    fine_tuned: bool,
) -> list[Result]:
    """Returns the rows of every combining function in `functions`, per category and on average.

    Args:
        features: with the captions of `split`.
    """
    results = []
    for name, combine in functions.items():
        queries = combine.eval()(*features.query_inputs(split, table))
        retriever = CosineRetriever(table, features.unit_images, queries)
        results += [Result(split, fine_tuned, name, found) for found in evaluate(retriever, protocol)]
    return results


def text_table(results: Sequence[Result], protocol: Protocol) -> str:
    """Formats results as the paper's table: a line a method, the metrics of each category side by side."""
    categories = list(dict.fromkeys(result.found.category for result in results))
    methods = list(dict.fromkeys((result.fine_tuned, result.combining) for result in results))
    cells = {(result.fine_tuned, result.combining, result.found.category): result.found.metrics for result in results}
    blocks = [cells[(*methods[0], category)] for category in categories]
    width = max(len(_method(*method)) for method in methods)
    heads = [category.center(7 * len(block)) for category, block in zip(categories, blocks, strict=True)]
    lines = [f"Recall in percent; protocol: {protocol.name}", " " * width + " | " + " | ".join(heads)]
    lines.append(" " * width + " | " + " | ".join("".join(name.rjust(7) for name in block) for block in blocks))
    lines.append("-" * len(lines[1]))
    for method in methods:
        shown = ["".join(f"{value:7.2f}" for value in cells[(*method, c)].values()) for c in categories]
        lines.append(_method(*method).ljust(width) + " | " + " | ".join(shown))
    return "\n".join(lines)


def _method(fine_tuned: bool, combining: str) -> str:
    return f"FT {combining}" if fine_tuned else combining


def overall(results: Sequence[Result], fine_tuned: bool, combining: str) -> Evaluation:
    """Returns the average row (or the only one) of a method.

    Raises:
        KeyError: there is no such row.
    """
    rows = [r.found for r in results if r.fine_tuned == fine_tuned and r.combining == combining]
    if not rows:
        raise KeyError(f"no results of {_method(fine_tuned, combining)}")
    return next((row for row in rows if row.category == AVERAGE), rows[-1])
