#!/usr/bin/env python
"""Trains on triplets: stage 0 (optional), stage 1, stage 2; then evaluates and writes a bundle.

    python jobs/train.py --recipe NAME --data.root DIR --output OUTPUT [--workers N] [--any.field VALUE]
    ray job submit --working-dir . -- python jobs/train.py --recipe NAME ...

OUTPUT gets config.yaml, metrics.jsonl, report.json, queries.png and bundle/. Run the same command again to resume.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command import Command
from cirray.config.command_line import main
from cirray.config.help import help_text
from cirray.config.options import RecipeOptions
from cirray.config.training import TrainConfig

COMMAND = Command(__doc__ or "", RecipeOptions, TrainConfig)


def run(argv: Sequence[str]) -> None:
    """Trains; writes OUTPUT/report.json."""
    _, config = COMMAND.read(argv)
    from cirray.training.run import train  # imports torch and Ray, so only after the arguments are valid

    train(config)


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
