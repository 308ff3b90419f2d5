"""jobs/start.py with weights, which needs no training; docs/start.md without weights is tested in integration."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest
from safetensors.torch import save_file

import cirray
import jobs.start
from cirray.errors import CirrayError
from cirray.models.combining.sum import Sum
from tests.support.data_fixtures import write_lines, write_picture
from tests.support.encoder_fixtures import TINY, make_encoder, write_definition
from tests.support.jobs import forbid_ray


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments of a start with local weights, on a feed of six pictures without titles and attributes."""
    forbid_ray(monkeypatch)
    monkeypatch.delenv("QDRANT_URL", raising=False)
    state = make_encoder(seed=7).clip.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "w.safetensors")
    for number in range(6):
        write_picture(tmp_path / "feed" / f"p{number}.png", number)
    model = write_definition(tmp_path, TINY)
    weights = ["--backbone.model", model, "--backbone.weights", str(tmp_path / "w.safetensors")]
    return ["--catalog", str(tmp_path / "feed"), "--output", str(tmp_path / "out"), *weights]


def bundle_in(output: Path) -> Path:
    return (output / "bundle").resolve()


def test_weights_are_searchable_without_training(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.start.run([*arguments, "--no-train"])
    out = tmp_path / "out"
    assert bundle_in(out) == out / "published"
    model = cirray.load(out / "bundle")
    assert isinstance(model.combining, Sum)
    assert model.manifest["image_fingerprint"] == make_encoder(seed=7).fingerprint("image")
    assert json.loads((out / "start.json").read_text())["items"] == 6
    shown = capsys.readouterr().err
    assert "6 items are searchable" in shown
    assert f"python -m serve --serve.bundle {out / 'bundle'} --serve.index {out / 'index'}" in shown
    assert not (out / "training").exists()


def test_a_feed_without_differences_is_indexed_and_says_why_nothing_is_trained(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.start.run(arguments)
    assert "nothing is trained: " in capsys.readouterr().err
    assert bundle_in(tmp_path / "out") == tmp_path / "out" / "published"


def test_the_same_command_takes_the_changes_of_the_feed(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.start.run([*arguments, "--no-train"])
    written = (tmp_path / "out" / "published" / "model.json").stat().st_mtime_ns
    write_picture(tmp_path / "feed" / "p6.png", 6)
    (tmp_path / "feed" / "p0.png").unlink()
    jobs.start.run([*arguments, "--no-train"])
    assert "1 added, 0 changed, 1 removed" in capsys.readouterr().err
    assert (tmp_path / "out" / "published" / "model.json").stat().st_mtime_ns == written


def test_a_trained_model_stays_the_current_one(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.start.run([*arguments, "--no-train"])
    out = tmp_path / "out"
    copytree(out / "published", out / "training" / "bundle")
    capsys.readouterr()
    jobs.start.run(arguments)
    assert bundle_in(out) == out / "training" / "bundle"
    assert capsys.readouterr().err.count("== index of") == 1, "the published weights are not served in between"


def test_the_report_names_the_index_of_the_configuration(arguments: list[str], tmp_path: Path) -> None:
    jobs.start.run([*arguments, "--no-train", "--index.path", str(tmp_path / "elsewhere")])
    assert json.loads((tmp_path / "out" / "start.json").read_text())["index"] == str(tmp_path / "elsewhere")


def test_another_output_is_asked_for(arguments: list[str], tmp_path: Path) -> None:
    jobs.start.run([*arguments, "--no-train"])
    with pytest.raises(CirrayError, match="was started with another preprocess"):
        jobs.start.run([*arguments, "--no-train", "--preprocess.pad", "none"])
    write_lines(tmp_path / "other" / "notes.txt", ["mine"])
    with pytest.raises(CirrayError, match="other is not empty and not made by this command"):
        jobs.start.run([*arguments[:2], "--output", str(tmp_path / "other"), *arguments[4:]])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--data.root", "x"], "give your own triplets as --data.extra"),
        (["--catalogue", "x"], "Did you mean --catalog?"),
        (["--serve.port", "1"], "for python -m serve only"),
        (["--stage1.optimisation.lr", "-1"], "stage1.optimisation.lr"),
    ],
)
def test_wrong_settings_fail_before_anything_is_written(
    arguments: list[str], tmp_path: Path, more: list[str], message: str
) -> None:
    with pytest.raises(CirrayError) as caught:
        jobs.start.run([*arguments, *more])
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_feed_is_named(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(CirrayError, match=r"nowhere\.csv does not exist"):
        jobs.start.run(["--catalog", str(tmp_path / "nowhere.csv"), *arguments[2:]])
    assert not (tmp_path / "out").exists()
