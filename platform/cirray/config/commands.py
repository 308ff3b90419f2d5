"""The configuration of each command."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from cirray.config.bundling import BundleConfig
from cirray.config.conversion import ConvertConfig
from cirray.config.evaluation import EvaluateConfig, ExamConfig, SplitConfig
from cirray.config.fields import field_names, is_section
from cirray.config.indexing import IndexConfig
from cirray.config.section import Configuration
from cirray.config.serving import ServeConfig
from cirray.config.start import StartConfig
from cirray.config.training import TrainConfig
from cirray.config.triplets import TripletsConfig
from cirray.config.tuning import TrialsConfig, TuneConfig


class DemoConfig(TrainConfig, IndexConfig):
    """The configuration of the demo, which trains and indexes."""


COMMANDS: Mapping[str, type[Configuration]] = {
    "jobs/train.py": TrainConfig,
    "jobs/tune.py": TuneConfig,
    "jobs/ablate.py": TrialsConfig,
    "jobs/evaluate.py": EvaluateConfig,
    "jobs/rank.py": SplitConfig,
    "jobs/analyze.py": SplitConfig,
    "jobs/exam.py": ExamConfig,
    "jobs/index.py": IndexConfig,
    "jobs/triplets.py": TripletsConfig,
    "jobs/bundle.py": BundleConfig,
    "python -m serve": ServeConfig,
    "jobs/convert.py": ConvertConfig,
    "jobs/demo.py": DemoConfig,
    "jobs/start.py": StartConfig,
}


@cache
def owners(dotted: str) -> tuple[str, ...]:
    """Returns the commands that have a configuration field or a section of this dotted name."""
    return tuple(
        command for command, root in COMMANDS.items() if dotted in field_names(root) or is_section(dotted, root)
    )
