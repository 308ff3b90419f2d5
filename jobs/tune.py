#!/usr/bin/env python
"""Searches hyperparameters of stage 1 or 2 and writes a recipe with the best ones.

    python jobs/tune.py --recipe R --data.root DIR --output OUT --budget 10m|--trials N [--workers-per-trial N]
                        [--space combiner|combining|stage1|FILE.yaml] [--any.field VALUE]

The stages before the tuned one run once; all trials share their features. A held-out part of train (--data.holdout,
0.15) chooses everything; val is only reported. OUT gets best.yaml (for `jobs/train.py --recipe OUT/best.yaml`),
report.html, report.png, results.parquet and tune.json. Run the same command again to resume.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cirray.config.command import Command
from cirray.config.command_line import main
from cirray.config.help import help_text
from cirray.config.options import RecipeOptions
from cirray.config.tuning import TuneConfig

SHORT = {name: f"tune.{name}" for name in ("budget", "trials", "workers_per_trial", "space")}
COMMAND = Command(__doc__ or "", RecipeOptions, TuneConfig, SHORT)


def run(argv: Sequence[str]) -> None:
    """Searches; writes OUTPUT/tune.json."""
    _, config = COMMAND.read(argv)
    from tuning.run import tune  # imports torch and Ray, so only after the arguments are valid

    tune(config)


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
