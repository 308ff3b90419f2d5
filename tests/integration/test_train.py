"""The jobs on a small catalog with two Ray workers: what a training leaves, and what other jobs make of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import cirray
from cirray.models.encoder_manifest import read_manifest
from tests.support.jobs import forbid_ray, run_job, succeed
from tests.support.runs import REPOSITORY, comparable, options, rows, small_settings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


def the_same_command(trained: Path, **changes: str) -> list[str]:
    """The arguments that the run was trained with."""
    settings = {**small_settings(trained / "data", trained), "ablation": "true", **changes}
    return options({**settings, "output": str(trained / "run")})


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


def test_the_bundle_keeps_the_text_tower_that_stage_1_started_from(trained: Path) -> None:
    manifest = cirray.load(trained / "run" / "bundle").manifest
    start, tuned = (read_manifest(trained / "run" / stage / "encoder") for stage in ("stage0", "stage1"))
    assert manifest["pretrained_text_fingerprint"] == start["text_fingerprint"] != tuned["text_fingerprint"]
    assert manifest["text_fingerprint"] == tuned["text_fingerprint"]


def test_evaluate_finds_what_training_reported(trained: Path, tmp_path: Path) -> None:
    data = ("--data.format", "triplets", "--data.root", str(trained / "data"))
    bundle = str(trained / "run" / "bundle")
    output = ("--store", str(tmp_path / "store"), "--output", str(tmp_path))
    done = succeed("evaluate", "--bundle", bundle, *data, *output, "--titles")
    content = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    found, titles = content["results"], content["titles"]
    assert (titles["queries"], titles["gallery"]) == (40, 40)
    assert f"title -> image: R@1 {titles['R@1']:.2f}, R@10 {titles['R@10']:.2f} (40 titles, 40 images)" in done.stdout
    assert recall(found, True, "combiner") == recall(report(trained)["results"], True, "combiner")
    assert recall(found, True, "sum") == recall(report(trained)["results"], True, "sum")


def test_ranking_files_score_as_the_evaluation_does(trained: Path, tmp_path: Path) -> None:
    data = ("--data.format", "triplets", "--data.root", str(trained / "data"), "--store", str(tmp_path / "store"))
    done = succeed(
        "rank", "--bundle", str(trained / "run" / "bundle"), *data, "--split", "val", "--output", str(tmp_path)
    )
    (ranks,) = json.loads(done.stdout)["files"]
    done = succeed("score", "--ranks", ranks, "--annotations", str(trained / "data" / "triplets.val.jsonl"))
    expected = recall(report(trained)["results"], True, "combiner")
    decided = {k: value for k, value in json.loads(done.stdout)["recall"].items() if value is not None}
    assert decided == {k: expected[k] for k in decided}
    assert "1" in decided


def test_pictures_of_queries_are_drawn(trained: Path) -> None:
    with Image.open(trained / "run" / "queries.png") as picture:
        assert picture.format == "PNG" and picture.width > 600


def test_the_same_command_on_a_finished_run_trains_nothing(trained: Path) -> None:
    before = comparable(trained / "run")
    done = succeed("train", *the_same_command(trained))
    assert comparable(trained / "run") == before
    assert "training the combining function" not in done.stderr


def test_another_setting_in_the_same_output_is_refused(trained: Path) -> None:
    done = run_job("train", *the_same_command(trained, **{"stage2.optimisation.lr": "3e-4"}))
    assert done.returncode == 2
    assert "stage2.optimisation.lr: 0.0005 in the run, 0.0003 now" in done.stderr


# Name in the study -> fine-tuned, combining function in the report.
VARIANTS = {
    "image only": (False, "image only"),
    "text only": (False, "text only"),
    "Sum": (False, "sum"),
    "Combiner": (False, "combiner"),
    "FT Sum": (True, "sum"),
    "FT Combiner": (True, "combiner"),
}


@pytest.fixture(scope="module")
def studied(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the study of that run."""
    output = tmp_path_factory.mktemp("studied")
    succeed("analyze", "--run", str(trained / "run"), "--output", str(output))
    return output


def findings(study: Path) -> dict[str, dict[str, float]]:
    """Returns the recall of each variant by its name."""
    content = json.loads((study / "study.json").read_text(encoding="utf-8"))
    return {row["name"]: row["recall"] for row in content["findings"]}


def test_the_study_finds_what_training_reported(trained: Path, studied: Path) -> None:
    results = report(trained)["results"]
    assert findings(studied) == {name: recall(results, *row) for name, row in VARIANTS.items()}


def test_groups_of_the_study_make_up_the_whole(studied: Path) -> None:
    content = json.loads((studied / "study.json").read_text(encoding="utf-8"))
    (k,) = {part.split()[0] for part in content["claim"].split("R@")[1:]}
    for kind in ("relation", "length"):
        by_variant = content["recall_by"][kind]
        assert list(by_variant) == list(VARIANTS)
        for name, groups in by_variant.items():
            assert sum(count for count, _ in groups.values()) == 32
            whole = sum(count * share for count, share in groups.values()) / 32
            assert whole == pytest.approx(findings(studied)[name][k])


class Page(HTMLParser):
    """What a page shows and what it asks for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["h2"] and data.strip():
            self.headings.append(data)
        self.words.append(data)


def test_the_page_of_the_study_is_whole_and_needs_nothing_else(studied: Path) -> None:
    text = (studied / "study.html").read_text(encoding="utf-8")
    page = Page(text)
    assert [heading for heading in page.headings if heading.strip()] == [
        "Does better use of the space go with better recall?",
        "Numbers",
        "Similarities",
        "Spectrum",
        "Text weight",
        "Recall by relation",
        "Recall by caption length",
        "Failures of FT Combiner",
    ]
    start = "data:image/png;base64,"
    assert len(page.addresses) == 7 and all(address.startswith(start) for address in page.addresses)
    for address in page.addresses:
        with Image.open(BytesIO(b64decode(address.removeprefix(start)))) as picture:
            assert picture.format == "PNG" and len(picture.convert("L").getcolors() or []) > 1, "an empty picture"
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    bare = text
    for address in page.addresses:
        bare = bare.replace(address, "")
    assert not [part for part in ("http:", "https:", "url(", "@import", "$") if part in bare]
    words = " ".join(page.words)
    assert json.loads((studied / "study.json").read_text(encoding="utf-8"))["claim"] in words
    for name, row in findings(studied).items():
        assert name in words and all(f"{value:.1f}" in words for value in row.values())


def test_the_study_of_a_bundle_finds_what_training_reported(trained: Path, tmp_path: Path) -> None:
    data = ("--data.format", "triplets", "--data.root", str(trained / "data"), "--store", str(trained / "store"))
    succeed("analyze", "--bundle", str(trained / "run" / "bundle"), *data, "--output", str(tmp_path))
    found, results = findings(tmp_path), report(trained)["results"]
    assert list(found) == ["image only", "text only", "FT Sum", "FT Combiner"]
    assert all(found[name] == recall(results, *VARIANTS[name]) for name in ("FT Sum", "FT Combiner"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--output", "OUT"], "give either --run"),
        (["--run", "RUN", "--bundle", "RUN/bundle", "--output", "OUT"], "give either --run"),
        (["--run", "RUN/bundle", "--output", "OUT"], "is not the output of jobs/train.py"),
        (["--run", "UNFINISHED", "--output", "OUT"], "is not a finished training"),
        (["--run", "RUN"], "output is not set"),
        (["--run", "RUN", "--output", "OUT", "--split", "vall"], "vall"),
        (["--run", "RUN", "--output", "OUT", "--data.rot", "x"], "Did you mean --data.root?"),
        (["--run", "RUN", "--output", "OUT", "--data.root", "/no/such/folder"], "data.root"),
        (["--bundle", "/no/such/bundle", "--output", "OUT"], "/no/such/bundle"),
    ],
)
def test_a_study_with_wrong_settings_fails_with_a_sentence_and_before_ray(
    arguments: list[str], sentence: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_ray(monkeypatch)
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.yaml").write_bytes((trained / "run" / "config.yaml").read_bytes())
    names = {"OUT": str(tmp_path / "out"), "UNFINISHED": str(unfinished), "RUN": str(trained / "run")}
    done = run_job("analyze", *(re.sub("^(OUT|UNFINISHED|RUN)", lambda m: names[m[0]], part) for part in arguments))
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr and "starting Ray" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--recipe", "tiny"], "output is not set"),
        (["--recipe", "tinny"], "Did you mean tiny?"),
        (["--recipe", "tiny", "--output", "OUT", "--data.root", "/no/such/folder"], "data.root"),
        (["--recipe", "tiny", "--output", "OUT", "--stage1.lr", "1"], "Did you mean --stage1.optimisation.lr?"),
        (["--recipe", "tiny", "--output", "OUT", "--workers", "0"], "workers"),
    ],
)
def test_wrong_settings_fail_with_a_sentence_and_before_ray(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_ray(monkeypatch)
    done = run_job("train", *(part.replace("OUT", str(tmp_path / "out")) for part in arguments))
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr and "starting Ray" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_wrong_setting_ends_the_process() -> None:
    command = [sys.executable, str(REPOSITORY / "jobs" / "train.py"), "--recipe", "tinny"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert "Did you mean tiny?" in done.stderr
    assert "Traceback" not in done.stderr
