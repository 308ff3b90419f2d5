#!/usr/bin/env python
"""Trains on triplets: stage 0 (optional), stage 1, stage 2; then evaluates and writes a bundle.

    python jobs/train.py --recipe NAME --data.root DIR --output OUTPUT [--workers N] [--any.field VALUE]
    ray job submit --working-dir . -- python jobs/train.py --recipe NAME ...

OUTPUT gets config.yaml, metrics.jsonl, report.json, queries.png and bundle/. Run the same command again to resume.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command_line import main, parse
from cirray.config.recipe import load_recipe, recipe_names
from cirray.errors import ConfigError


def run(argv: Sequence[str]) -> None:
    """Parses, trains, writes OUTPUT/report.json."""
    values = parse(argv)
    recipe = values.pop("recipe", None)
    if not isinstance(recipe, str):
        raise ConfigError(f"--recipe NAME is missing: one of {', '.join(recipe_names())}, or a .yaml file")
    config = load_recipe(recipe, values)
    from cirray.training.run import train  # a wrong setting fails before torch and Ray are loaded

    train(config)


if __name__ == "__main__":
    main(run, __doc__ or "")
