"""Training with stage 3 on two Ray workers: the reranker in report and bundle, and a driver that is killed in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import cirray
from tests.support.jobs import succeed
from tests.support.runs import comparable, kill_driver, options, rows, small_settings, train, training, wait_for
from tests.support.small_catalog import write_small_catalog

pytestmark = pytest.mark.slow


def settings_of(folder: Path) -> dict[str, str]:
    """Settings of a run that trains stages 2 and 3 only."""
    return {
        **small_settings(write_small_catalog(folder / "data"), folder),
        "stage0.enabled": "false",
        "stage1.enabled": "false",
        "stage2.optimisation.epochs": "4",
        "stage3.enabled": "true",
        "stage3.top": "20",
        "stage3.reranker.hidden": "16",
        "stage3.optimisation.batch_size": "32",
        "stage3.optimisation.lr": "1e-2",
        "stage3.optimisation.epochs": "8",
    }


@pytest.fixture(scope="module")
def reranked(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a reranker, in run/."""
    folder = tmp_path_factory.mktemp("reranked")
    succeed("train", *options(settings_of(folder)), "--output", str(folder / "run"))
    return folder


def report(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "run" / "report.json").read_text(encoding="utf-8"))["results"]
    return found


def test_the_report_has_the_reranked_results_too(reranked: Path) -> None:
    methods = [row["combining"] for row in report(reranked)]
    assert methods == ["image only", "text only", "sum", "combiner", "combiner + attention@20"]
    assert report(reranked)[-1]["recall"] != report(reranked)[-2]["recall"]
    losses = [row["loss"] for row in rows(reranked / "run", "stage3")]
    assert len(losses) == 8 and losses[-1] < losses[0]
    done = json.loads((reranked / "run" / "stage3" / "done.json").read_text(encoding="utf-8"))
    assert done["best"] == pytest.approx(sum(report(reranked)[-1]["recall"].values()) / 4, abs=1e-3)


def test_the_bundle_has_the_trained_reranker(reranked: Path) -> None:
    model = cirray.load(reranked / "run" / "bundle")
    trained = load_file(reranked / "run" / "stage3" / "weights.safetensors")
    assert model.reranker is not None
    for name, parameter in model.reranker.state_dict().items():
        assert torch.equal(parameter, trained[f"reranker.{name}"]), name
    assert float(model.reranker.state_dict()["cosine_weight"]) != 1.0
    combiner = report(reranked)[-2]["metrics"]
    assert model.manifest["metrics"] == combiner  # searches rerank on request only


def test_evaluate_finds_what_training_reported(reranked: Path, tmp_path: Path) -> None:
    data = ("--data.format", "triplets", "--data.root", str(reranked / "data"), "--store", str(reranked / "store"))
    bundle = ("--bundle", str(reranked / "run" / "bundle"), "--output", str(tmp_path))
    succeed("evaluate", *bundle, *data, "--rerank.top", "20")
    found = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))["results"]
    assert found[-2:] == report(reranked)[-2:]


@pytest.mark.cluster
def test_a_driver_that_is_killed_in_stage_3_changes_nothing(reranked: Path, tmp_path: Path) -> None:
    settings, output, log = settings_of(tmp_path), tmp_path / "run", tmp_path / "log.txt"
    with training(settings, output, log) as process:
        wait_for(lambda: len(rows(output, "stage3")) >= 2, "the second validation of stage 3")
        kill_driver(process)
    assert not (output / "report.json").exists()
    train(settings, output, log)
    assert comparable(output) == comparable(reranked / "run")
