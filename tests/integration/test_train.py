"""The jobs as users run them, on a small catalogue with two Ray workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import cirray
from tests.integration.runs import REPOSITORY, rows, small_settings, train
from tests.small_catalogue import write_small_catalogue

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished small run, with its ablation rows."""
    folder = tmp_path_factory.mktemp("trained")
    settings = small_settings(write_small_catalogue(folder / "data"), folder)
    log = folder / "log.txt"
    train({**settings, "ablation": "true"}, folder / "run", log)
    return folder


def job(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a job to its end."""
    command = [sys.executable, str(REPOSITORY / "jobs" / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run" / "report.json").read_text(encoding="utf-8"))
    return found


def recall(results: list[dict[str, Any]], fine_tuned: bool, combining: str) -> dict[str, float]:
    row = next(r for r in results if r["fine_tuned"] == fine_tuned and r["combining"] == combining)
    found: dict[str, float] = row["recall"]
    return found


def test_report_has_the_four_rows_of_the_ablation(trained: Path) -> None:
    results = report(trained)["results"]
    methods = [(row["fine_tuned"], row["combining"]) for row in results]
    assert methods == [
        (False, "image only"),
        (False, "text only"),
        (False, "sum"),
        (False, "combiner"),
        (True, "sum"),
        (True, "combiner"),
    ]
    for row in results:
        assert set(row["recall"]) == {"1", "5", "10", "50"}
        assert row["split"] == "val" and row["category"] == "all"
        assert row["gallery"] == 40 and row["queries"] == 32


def test_training_learned_something(trained: Path) -> None:
    results = report(trained)["results"]
    assert recall(results, True, "combiner")["10"] > recall(results, False, "image only")["10"]
    losses = [row["loss"] for row in rows(trained / "run", "stage2")]
    assert losses[-1] < losses[0]


def test_the_merged_configuration_is_written_and_reproduces_the_run(trained: Path) -> None:
    config = yaml.safe_load((trained / "run" / "config.yaml").read_text(encoding="utf-8"))
    assert config["stage2"]["combining"]["projection"] == 32
    run = json.loads((trained / "run" / "run.json").read_text(encoding="utf-8"))
    assert run["seed"] == config["seed"] and run["packages"]["torch"]


def test_best_epoch_is_the_one_that_was_kept(trained: Path) -> None:
    done = json.loads((trained / "run" / "stage2" / "done.json").read_text(encoding="utf-8"))
    selections = [row["selection"] for row in rows(trained / "run", "stage2")]
    assert done["best"] == max(selections)
    overall = recall(report(trained)["results"], True, "combiner")
    assert done["best"] == pytest.approx(sum(overall.values()) / 4, abs=1e-3)


def test_the_bundle_answers_in_three_lines(trained: Path) -> None:
    model = cirray.load(trained / "run" / "bundle")
    gallery = model.encode_image([trained / "data" / "images" / "large-red-circle.png"])
    query = model.encode_query(trained / "data" / "images" / "large-blue-circle.png", "make it red")
    assert (query @ gallery.T).shape == (1, 1)


def test_evaluate_finds_what_training_reported(trained: Path, tmp_path: Path) -> None:
    data = ("--data.format", "triplets", "--data.root", str(trained / "data"))
    bundle = str(trained / "run" / "bundle")
    done = job("evaluate", "--bundle", bundle, *data, "--store", str(tmp_path / "store"), "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))["results"]
    assert recall(found, True, "combiner") == recall(report(trained)["results"], True, "combiner")
    assert recall(found, True, "sum") == recall(report(trained)["results"], True, "sum")


def test_ranking_files_score_as_the_evaluation_does(trained: Path, tmp_path: Path) -> None:
    data = ("--data.format", "triplets", "--data.root", str(trained / "data"), "--store", str(tmp_path / "store"))
    done = job("rank", "--bundle", str(trained / "run" / "bundle"), *data, "--split", "val", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (ranks,) = json.loads(done.stdout)["files"]
    done = job("score", "--ranks", ranks, "--annotations", str(trained / "data" / "triplets.val.jsonl"))
    assert done.returncode == 0, done.stderr
    expected = recall(report(trained)["results"], True, "combiner")
    decided = {k: value for k, value in json.loads(done.stdout)["recall"].items() if value is not None}
    assert decided == {k: expected[k] for k in decided}
    assert "1" in decided


def test_pictures_of_queries_are_drawn(trained: Path) -> None:
    from PIL import Image

    with Image.open(trained / "run" / "queries.png") as picture:
        assert picture.format == "PNG" and picture.width > 600


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--recipe", "tiny"], "output is not set"),
        (["--recipe", "tinny"], "Did you mean tiny?"),
        (["--recipe", "tiny", "--output", "OUT", "--data.root", "/no/such/folder"], "data.root"),
        (["--recipe", "tiny", "--output", "OUT", "--stage1.lr", "1"], "Did you mean stage1.optimisation.lr?"),
        (["--recipe", "tiny", "--output", "OUT", "--workers", "0"], "workers"),
    ],
)
def test_wrong_settings_fail_with_a_sentence_and_before_ray(
    arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    done = job("train", *(part.replace("OUT", str(tmp_path / "out")) for part in arguments))
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr and "starting Ray" not in done.stderr
    assert not (tmp_path / "out").exists()
