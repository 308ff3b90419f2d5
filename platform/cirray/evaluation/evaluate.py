"""Scores combining functions on a split, in the rows of the paper's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from cirray.data.records import Protocol
from cirray.data.table import TripletTable
from cirray.evaluation.attributes_kept import AttributeTable
from cirray.evaluation.cosine import CosineRetriever
from cirray.evaluation.kept_in_split import kept_in_category
from cirray.evaluation.metrics import by_k, is_detail, kind_of
from cirray.evaluation.reranked import RerankedRetriever, RerankedTop
from cirray.evaluation.retriever import AVERAGE, Evaluation, evaluate
from cirray.features.frozen import FrozenFeatures
from cirray.models.combining import CombiningFunction


@dataclass(frozen=True, slots=True)
class Result:
    """The evaluation of one combining function on one category.

    Attributes:
        fine_tuned: whether the encoder was fine-tuned by stage 1.
        combining: name of the combining function.
    """

    split: str
    fine_tuned: bool
    combining: str
    evaluation: Evaluation

    def to_json(self) -> dict[str, Any]:
        """Returns a row of report.json. "recall" and "recall_subset" repeat the recalls of "metrics" by K, for readers
        of older reports."""
        metrics = {name: round(value, 4) for name, value in self.evaluation.metrics.items()}
        subset = by_k(metrics, "Rs")
        return {
            "split": self.split,
            "category": self.evaluation.category,
            "fine_tuned": self.fine_tuned,
            "combining": self.combining,
            "recall": by_k(metrics, "R"),
            **({"recall_subset": subset} if subset else {}),
            "metrics": metrics,
            "queries": self.evaluation.queries,
            "gallery": self.evaluation.gallery,
        }


def reranked_name(combining: str, reranker: str, top: int) -> str:
    """Returns the name of the method that reranks the first `top` results of a combining function."""
    return f"{combining} + {reranker}@{top}"


def row_metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """Returns the metrics by name of a row of report.json. Reports of older versions have only recalls by K."""
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
    attributes: AttributeTable | None = None,
    second: RerankedTop | None = None,
) -> list[Result]:
    """Scores every combining function on every category, and on their average.

    Args:
        split: name of the split.
        table: its triplets.
        protocol: the dataset's evaluation protocol.
        features: the dataset's images, and the captions of `split`.
        functions: name -> combining function.
        fine_tuned: whether the encoder was fine-tuned by stage 1.
        attributes: the attributes of the dataset's images, if they have any; rows as in `table`.
        second: reranks the first results of every function; None = no reranking.
    """
    results = []
    inputs = features.query_inputs(split, table)
    for name, combine in functions.items():
        first = CosineRetriever(table, features.unit_images, combine.eval()(*inputs))
        ranked = first if second is None else RerankedRetriever(first, features.images, inputs, second)
        kept = partial(kept_in_category, ranked, attributes, protocol) if attributes is not None else None
        results += [Result(split, fine_tuned, name, evaluation) for evaluation in evaluate(ranked, protocol, kept)]
    return results


def text_table(results: Sequence[Result], protocol: Protocol) -> str:
    """Formats results as in the paper's tables: one line per method, with the metrics of each category.

    Metrics of parts and properties, such as "mAP[negation]@10" and "asked-kept@10", follow in a table of their own, one
    line per metric: those of the average over categories, or of the only category.
    """
    categories = list(dict.fromkeys(result.evaluation.category for result in results))
    methods = list(dict.fromkeys((result.fine_tuned, result.combining) for result in results))
    cells = {(row.fine_tuned, row.combining, row.evaluation.category): row.evaluation.metrics for row in results}
    blocks = [[name for name in cells[(*methods[0], category)] if not is_detail(name)] for category in categories]
    width = max(len(_method(*method)) for method in methods)
    heads = [category.center(7 * len(block)) for category, block in zip(categories, blocks, strict=True)]
    only_recall = all(kind_of(name) in ("R", "Rs") for block in blocks for name in block)
    what = "Recall in percent" if only_recall else "In percent"
    lines = [f"{what}; protocol: {protocol.name}", " " * width + " | " + " | ".join(heads)]
    lines.append(" " * width + " | " + " | ".join("".join(name.rjust(7) for name in block) for block in blocks))
    lines.append("-" * len(lines[1]))
    for method in methods:
        shown = [
            "".join(f"{cells[(*method, category)][name]:7.2f}" for name in block)
            for category, block in zip(categories, blocks, strict=True)
        ]
        lines.append(_method(*method).ljust(width) + " | " + " | ".join(shown))
    last = {_method(*method): cells[(*method, categories[-1])] for method in methods}
    return "\n".join([*lines, *_detail_lines(last)])


def _detail_lines(methods: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Returns the lines of the second table: one per metric, with one column per method."""
    names = [name for name in next(iter(methods.values())) if is_detail(name)]
    if not names:
        return []
    width = max(map(len, names))
    widths = {method: max(len(method), 6) for method in methods}
    lines = ["", " " * width + " | " + "  ".join(method.rjust(widths[method]) for method in methods)]
    lines.append("-" * len(lines[1]))
    for name in names:
        values = (f"{metrics[name]:.2f}".rjust(widths[method]) for method, metrics in methods.items())
        lines.append(name.ljust(width) + " | " + "  ".join(values))
    return lines


def _method(fine_tuned: bool, combining: str) -> str:
    return f"FT {combining}" if fine_tuned else combining


def overall(results: Sequence[Result], fine_tuned: bool, combining: str) -> Evaluation:
    """Returns a method's average over categories; for a single category, its evaluation.

    Raises:
        KeyError: the method has no results.
    """
    rows = [row.evaluation for row in results if row.fine_tuned == fine_tuned and row.combining == combining]
    if not rows:
        raise KeyError(f"no results of {_method(fine_tuned, combining)}")
    return next((row for row in rows if row.category == AVERAGE), rows[-1])
