"""Scores combining functions on a split: the rows of the paper's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cirray.data.records import Protocol
from cirray.data.table import TripletTable
from cirray.evaluation.metrics import AVERAGE, Recall, evaluate
from cirray.features.frozen import FrozenFeatures
from cirray.models.combining import CombiningFunction


@dataclass(frozen=True, slots=True)
class Result:
    """One row of a table: a combining function on a category, before or after stage 1."""

    split: str
    fine_tuned: bool
    combining: str
    recall: Recall

    def to_json(self) -> dict[str, Any]:
        """Returns what report.json holds; K are strings there."""
        return {
            "split": self.split,
            "category": self.recall.category,
            "fine_tuned": self.fine_tuned,
            "combining": self.combining,
            "recall": {str(k): round(value, 4) for k, value in self.recall.recall.items()},
            **(
                {"recall_subset": {str(k): round(v, 4) for k, v in self.recall.subset.items()}}
                if self.recall.subset
                else {}
            ),
            "queries": self.recall.queries,
            "gallery": self.recall.gallery,
        }


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
        recalls = evaluate(table, protocol, features.unit_images, queries)
        results += [Result(split, fine_tuned, name, recall) for recall in recalls]
    return results


def text_table(results: Sequence[Result], protocol: Protocol) -> str:
    """Formats results as the paper's table: a line a method, R@K of each category side by side."""
    categories = list(dict.fromkeys(result.recall.category for result in results))
    methods = list(dict.fromkeys((result.fine_tuned, result.combining) for result in results))
    cells = {(result.fine_tuned, result.combining, result.recall.category): result.recall for result in results}
    blocks = [_columns(cells[(*methods[0], category)]) for category in categories]
    width = max(len(_method(*method)) for method in methods)
    heads = [category.center(7 * len(block)) for category, block in zip(categories, blocks, strict=True)]
    lines = [f"Recall in percent; protocol: {protocol.name}", " " * width + " | " + " | ".join(heads)]
    lines.append(" " * width + " | " + " | ".join("".join(name.rjust(7) for name in block) for block in blocks))
    lines.append("-" * len(lines[1]))
    for method in methods:
        shown = ["".join(f"{value:7.2f}" for value in _columns(cells[(*method, c)]).values()) for c in categories]
        lines.append(_method(*method).ljust(width) + " | " + " | ".join(shown))
    return "\n".join(lines)


def _columns(recall: Recall) -> dict[str, float]:
    columns = {f"R@{k}": value for k, value in recall.recall.items()}
    return columns | {f"Rs@{k}": value for k, value in recall.subset.items()}


def _method(fine_tuned: bool, combining: str) -> str:
    return f"FT {combining}" if fine_tuned else combining


def overall(results: Sequence[Result], fine_tuned: bool, combining: str) -> Recall:
    """Returns the average row (or the only one) of a method.

    Raises:
        KeyError: there is no such row.
    """
    rows = [r.recall for r in results if r.fine_tuned == fine_tuned and r.combining == combining]
    if not rows:
        raise KeyError(f"no results of {_method(fine_tuned, combining)}")
    return next((row for row in rows if row.category == AVERAGE), rows[-1])
