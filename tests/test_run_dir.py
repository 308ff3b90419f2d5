"""A run's folder: whose it is, and what may differ when it is taken up again."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cirray.config.recipe import load_recipe
from cirray.config.training import TrainConfig
from cirray.errors import ConfigError, RunError
from cirray.training.run_dir import CONFIG, open_output


def config(folder: Path, **changes: object) -> TrainConfig:
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return load_recipe(TrainConfig, "tiny", {"output": str(folder / "run"), **named})


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A folder with a run in it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / CONFIG).write_text(config(tmp_path).to_yaml(), encoding="utf-8")
    return tmp_path


def test_a_new_or_empty_folder_is_taken(tmp_path: Path) -> None:
    assert open_output(config(tmp_path)).local == tmp_path / "run"
    (tmp_path / "run").mkdir()
    assert open_output(config(tmp_path)).local == tmp_path / "run"


def test_how_it_runs_may_change_and_what_it_trains_may_not(begun: Path) -> None:
    with (begun / "run" / CONFIG).open("a", encoding="utf-8") as file:
        file.write("serve: {port: 9}\n")  # older versions wrote the sections of all commands
    open_output(config(begun, workers=7, store="elsewhere", compute__threads=3))
    with pytest.raises(RunError, match=r"seed: 0 in the run, 1 now\n  stage2.combining.hidden: 512 in the run, 9 now"):
        open_output(config(begun, seed=1, stage2__combining__hidden=9))


def test_a_run_from_before_a_field_existed_goes_on(begun: Path) -> None:
    file = begun / "run" / CONFIG
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    del content["stage1"]["blend"], content["stage2"]["optimisation"]["ema"]
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    open_output(config(begun))
    with pytest.raises(RunError, match=r"stage1.blend: 1.0 in the run, 0.5 now"):
        open_output(config(begun, stage1__blend=0.5))


def test_what_is_no_run_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="output is not set"):
        open_output(load_recipe(TrainConfig, "tiny", {}))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(RunError, match="is not empty and not a cirray run"):
        open_output(config(tmp_path))
    (tmp_path / "run" / "letter.txt").unlink()
    (tmp_path / "run").rmdir()
    (tmp_path / "run").write_text("a file", encoding="utf-8")
    with pytest.raises(RunError, match="is a file"):
        open_output(config(tmp_path))
