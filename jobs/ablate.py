#!/usr/bin/env python
"""Measures the effect of single changes to a recipe, each over several seeds.

    python jobs/ablate.py --recipe R --data.root DIR --output OUT [--changes combining|stage1|stage2|FILE.yaml]
                          [--tune.seeds 3] [--any.field VALUE]

FILE.yaml maps names to changed fields of stages 1 and 2. The recipe itself is the first row. If all changes are in
stage 2, the rows share stage 1 and train in parallel; otherwise each row trains both stages, one row after the other. A
held-out part of train (--data.holdout, 0.15) chooses epochs; val is only reported. Prints a table and writes
OUT/ablation.json. Run the same command again to resume.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pydantic import Field

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cirray.config.command import Command
from cirray.config.command_line import main
from cirray.config.help import help_text
from cirray.config.options import Name, RecipeOptions
from cirray.config.tuning import TrialsConfig


class Options(RecipeOptions):
    """The own options of this command."""

    changes: Name = Field("stage2", description="combining, stage1, stage2, or a .yaml file of changes")


COMMAND = Command(__doc__ or "", Options, TrialsConfig)


def run(argv: Sequence[str]) -> None:
    """Trains all rows; writes OUTPUT/ablation.json."""
    options, config = COMMAND.read(argv)
    from tuning.ablation import ablate  # imports torch and Ray, so only after the arguments are valid

    ablate(config, options.changes)


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
