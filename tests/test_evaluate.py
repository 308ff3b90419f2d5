"""The rows of report.json and of the printed table, and what adding a metric takes."""

from __future__ import annotations

import json
from dataclasses import replace
from statistics import fmean

import pytest

from cirray.data.records import Protocol
from cirray.evaluation import metrics
from cirray.evaluation.cosine import CosineRetriever
from cirray.evaluation.evaluate import Result, overall, row_metrics, text_table
from cirray.evaluation.list_scores import score_lists
from cirray.evaluation.metrics import METRICS
from cirray.evaluation.ranking_files import Rankings
from cirray.evaluation.ranks import Ranks
from cirray.evaluation.retriever import Evaluation, evaluate
from cirray.evaluation.submission import rank_names
from cirray.training.task import Validation
from tests.test_metrics import CIRR, cirr, fashioniq
from tests.test_metrics import FASHIONIQ as THREE_CATEGORIES
from tests.test_submission import as_pairs

FASHIONIQ = Protocol("fashioniq (whole split file)", exclude_reference=False, ks=(1, 10))
DRESS = Evaluation("dress", 350, 200, {"R@1": 100 / 3, "R@10": 50.0}, {})
AVERAGE = Evaluation("average", 700, 400, {"R@1": 20.0, "R@10": 40.0}, {})
ROWS = [
    Result("val", fine_tuned, combining, found)
    for fine_tuned, combining in ((False, "sum"), (True, "combiner"))
    for found in (DRESS, AVERAGE)
]


def test_a_row_of_the_report() -> None:
    row = json.loads(json.dumps(ROWS[0].to_json()))
    assert row == {
        "split": "val",
        "category": "dress",
        "fine_tuned": False,
        "combining": "sum",
        "recall": {"1": 33.3333, "10": 50.0},
        "metrics": {"R@1": 33.3333, "R@10": 50.0},
        "queries": 350,
        "gallery": 200,
    }
    assert row_metrics(row) == row["metrics"]


def test_a_row_with_image_sets_and_rows_of_earlier_reports() -> None:
    found = Evaluation("all", 10, 20, {"R@1": 10.0, "R@5": 50.0, "Rs@1": 40.0}, {})
    row = json.loads(json.dumps(Result("val", True, "combiner", found).to_json()))
    assert (row["recall"], row["recall_subset"]) == ({"1": 10.0, "5": 50.0}, {"1": 40.0})
    earlier = {key: value for key, value in row.items() if key != "metrics"}
    assert row_metrics(earlier) == row_metrics(row) == found.metrics


def test_the_table() -> None:
    assert text_table(ROWS, FASHIONIQ).splitlines() == [
        "Recall in percent; protocol: fashioniq (whole split file)",
        "            |     dress      |    average    ",
        "            |     R@1   R@10 |     R@1   R@10",
        "-" * 45,
        "sum         |   33.33  50.00 |   20.00  40.00",
        "FT combiner |   33.33  50.00 |   20.00  40.00",
    ]
    assert overall(ROWS, True, "combiner") is AVERAGE
    with pytest.raises(KeyError, match="no results of FT sum"):
        overall(ROWS, True, "sum")


def test_metrics_of_parts_have_a_table_of_their_own() -> None:
    """With one line per metric, of the average over categories."""
    parts = {"mAP@5": 12.5, "HN@1": 25.0, "mAP[comparative_statement]@10": 100.0, "R-spread@10": 3.14159}
    rows = [replace(row, evaluation=replace(row.evaluation, metrics=row.evaluation.metrics | parts)) for row in ROWS]
    assert text_table(rows, FASHIONIQ).splitlines() == [
        "In percent; protocol: fashioniq (whole split file)",
        "            |            dress             |           average           ",
        "            |     R@1   R@10  mAP@5   HN@1 |     R@1   R@10  mAP@5   HN@1",
        "-" * 73,
        "sum         |   33.33  50.00  12.50  25.00 |   20.00  40.00  12.50  25.00",
        "FT combiner |   33.33  50.00  12.50  25.00 |   20.00  40.00  12.50  25.00",
        "",
        "                              |    sum  FT combiner",
        "-" * 51,
        "mAP[comparative_statement]@10 | 100.00       100.00",
        "R-spread@10                   |   3.14         3.14",
    ]


def test_a_validation_selects_by_the_average_over_categories() -> None:
    table, images, queries = fashioniq(0)
    protocol = replace(THREE_CATEGORIES, selection="mean-all")
    found = Validation.of(CosineRetriever(table, images, queries), protocol)
    names = ["dress", "shirt", "toptee", "average"]
    recalls = [name for name in found.metrics if " R@" in name]
    assert recalls == [f"{name} R@{k}" for name in names for k in protocol.ks]
    means = {name: fmean(found.metrics[f"{name} R@{k}"] for k in protocol.ks) for name in names}
    assert found.selection == means["average"] != means["dress"]


def mean_reciprocal_rank(ranks: Ranks, protocol: Protocol) -> dict[str, float]:
    """MRR in percent."""
    return {"MRR": 100.0 * float((1.0 / (ranks.target + 1)).mean())}


def test_a_metric_that_is_listed_appears_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    table, images, queries = cirr(0)
    retriever, names = CosineRetriever(table, images, queries), [str(row) for row in range(len(images))]
    before = Validation.of(retriever, CIRR)
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, mean_reciprocal_rank))
    (found,) = evaluate(retriever, CIRR)
    ranks = retriever.rank("all", exclude_reference=True).best.target
    expected = sum(100 / (rank + 1) for rank in ranks.tolist()) / len(ranks)
    assert found.metrics["MRR"] == pytest.approx(expected)

    row = Result("val", False, "sum", found)
    assert row.to_json()["metrics"]["MRR"] == round(expected, 4)
    assert "MRR" not in row.to_json()["recall"] and f"{expected:7.2f}" in text_table([row], CIRR)
    after = Validation.of(retriever, CIRR)
    assert after.metrics == {**before.metrics, "all MRR": found.metrics["MRR"]}
    assert after.selection == before.selection

    for top, value in ((14, pytest.approx(expected, abs=1e-4)), (1, None)):
        ranked, _ = rank_names(table, CIRR, names, images, queries, top)
        lists = Rankings({str(number): tuple(each) for number, each in enumerate(ranked)}, "recall")
        scored = score_lists(as_pairs(table, "cirr", "all"), lists).to_json()
        assert scored["metrics"]["MRR"] == value
        assert ("MRR" in scored["undecidable"]) == (value is None)
    hits = sum(rank == 0 for rank in ranks.tolist())
    assert scored["undecidable"]["MRR"].startswith(f"{len(ranks) - hits} of {len(ranks)} lists end without the target")
