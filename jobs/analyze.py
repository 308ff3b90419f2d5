#!/usr/bin/env python
"""Analyzes how each training stage changes the embedding space of queries and targets; writes one HTML page.

    python jobs/analyze.py --run TRAINED [--split val] --output DIR
    python jobs/analyze.py --bundle TRAINED/bundle --data.format triplets --data.root DIR [--split val] --output DIR

--run takes the output of a finished jobs/train.py and compares each stage with the previous one, on that run's data.
--bundle measures only the bundle. Writes DIR/study.html and DIR/study.json.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command import Command
from cirray.config.command_line import main
from cirray.config.evaluation import SplitConfig
from cirray.config.help import help_text
from cirray.config.options import Folder, Name
from cirray.config.options import Options as Base
from cirray.errors import ConfigError, RunError


class Options(Base):
    """The own options of this command."""

    run: Folder | None = Field(None, description="output of a finished training, whose configuration is used")
    bundle: Folder | None = Field(None, description="bundle, folder or URI")
    split: Name = Field("val", description="split to analyze")

    def base_recipe(self) -> str:
        """Returns the run's config.yaml, if a run is given."""
        if self.run is None:
            return super().base_recipe()
        if not (Path(self.run) / "config.yaml").is_file():
            raise RunError(f"{self.run} is not the output of jobs/train.py: config.yaml is missing")
        return str(Path(self.run) / "config.yaml")

    def presets(self) -> Mapping[str, Any]:
        """Clears the run's own output, so that --output has to be given."""
        return {"output": ""}


COMMAND = Command(__doc__ or "", Options, SplitConfig)


def run(argv: Sequence[str]) -> None:
    """Analyzes a run or a bundle; writes the report."""
    options, config = COMMAND.read(argv)
    if (options.run is None) == (options.bundle is None):
        raise ConfigError("give either --run OUTPUT of jobs/train.py, or --bundle OUTPUT/bundle")
    from cirray.study.run import study  # imports torch and Ray, so only after the arguments are valid
    from cirray.study.variants import stages_of_bundle, stages_of_run

    stages = stages_of_run(Path(options.run)) if options.run else stages_of_bundle(str(options.bundle))
    study(stages, str(options.run or options.bundle), config, options.split)


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
