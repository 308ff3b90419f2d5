"""A stage on Ray Train that cannot train."""

from __future__ import annotations

from pathlib import Path

import pytest

from cirray.config.recipe import load_recipe
from cirray.config.training import TrainConfig
from cirray.data.records import Dataset, Protocol, Split, Triplet
from cirray.data.table import build_table
from cirray.errors import RunError
from cirray.storage.location import Location
from cirray.training.launch import is_done, run_stage
from cirray.training.task import StageInputs


@pytest.mark.slow
def test_a_failed_stage_says_what_went_wrong(ray_session: None, tmp_path: Path) -> None:
    train = Split("train", (Triplet("a", ("is red",), "b"),), {"all": ("a", "b")})
    protocol = Protocol("test", exclude_reference=False)
    table = build_table(Dataset("test", {"a": "a.png", "b": "b.png"}, {}, {}, {"train": train}, protocol), "train")
    config = load_recipe(TrainConfig, "tiny", {"workers": 1, "compute.max_failures": 0})
    run = Location.parse(tmp_path)
    inputs = StageInputs(config, run / "gone", run / "store", ("a", "b"), table, table, protocol)
    with pytest.raises(RunError, match=r"^stage2 failed: .*gone.*\. Run the same command again to resume$") as failure:
        run_stage("stage2", "stage2", inputs, run)
    assert "\n" not in str(failure.value)
    assert not is_done(tmp_path / "stage2")
