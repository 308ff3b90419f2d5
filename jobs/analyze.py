#!/usr/bin/env python
"""Studies how each training stage changes the embedding space of queries and targets; writes one HTML page.

    python jobs/analyze.py --run TRAINED [--split val] --output DIR
    python jobs/analyze.py --bundle TRAINED/bundle --data.format triplets --data.root DIR [--split val] --output DIR

--run takes the output of a finished jobs/train.py and compares each stage with the previous one, on that run's data.
--bundle measures only the bundle. Writes DIR/study.html and DIR/study.json.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command_line import main, parse
from cirray.config.recipe import load_recipe
from cirray.config.schema import Config
from cirray.errors import ConfigError, RunError


def run(argv: Sequence[str]) -> None:
    """Parses, studies, writes the report."""
    values = parse(argv)
    trained, bundle, split = values.pop("run", None), values.pop("bundle", None), str(values.pop("split", "val"))
    if (trained is None) == (bundle is None):
        raise ConfigError("give either --run OUTPUT of jobs/train.py, or --bundle OUTPUT/bundle")
    config = _settings(Path(str(trained)), values) if trained else load_recipe("default", values)
    from cirray.study.run import study  # a wrong setting fails before torch and Ray are loaded
    from cirray.study.variants import stages_of_bundle, stages_of_run

    stages = stages_of_run(Path(str(trained)), config) if trained else stages_of_bundle(str(bundle))
    study(stages, str(trained or bundle), config, split)


def _settings(folder: Path, values: dict[str, Any]) -> Config:
    """Returns the configuration that a run was made with, and what the command line says otherwise."""
    if not (folder / "config.yaml").is_file():
        raise RunError(f"{folder} holds no run of jobs/train.py (config.yaml is missing)")
    return load_recipe(str(folder / "config.yaml"), {"output": "", **values})


if __name__ == "__main__":
    main(run, __doc__ or "")
