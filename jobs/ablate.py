#!/usr/bin/env python
"""Tells what single changes of a recipe are worth: each is trained with several seeds, beside the recipe itself.

    python jobs/ablate.py --recipe R --data.root DIR --output OUT [--changes stage1|stage2|FILE.yaml] [--tune.seeds 3]
                          [--any.field VALUE]

A file of changes maps a name to the fields of stages 1 and 2 that it sets. If all are of stage 2, only that is trained
for each row, as trials side by side; else both stages are, one run after the other. The stages before run once. A part
of train is held back (--data.holdout, 0.15) and chooses epochs; val is only reported. Prints a table and writes
OUT/ablation.json. The same command takes up what was stopped.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cirray.config.command_line import main, parse
from cirray.config.recipe import load_recipe, recipe_names
from cirray.errors import ConfigError


def run(argv: Sequence[str]) -> None:
    """Parses, trains all rows, writes OUTPUT/ablation.json."""
    values = parse(argv)
    recipe, changes = values.pop("recipe", None), values.pop("changes", "stage2")
    if not isinstance(recipe, str):
        raise ConfigError(f"--recipe NAME is missing: one of {', '.join(recipe_names())}, or a .yaml file")
    config = load_recipe(recipe, values)
    from tuning.ablation import ablate  # a wrong setting fails before torch and Ray are loaded

    ablate(config, str(changes))


if __name__ == "__main__":
    main(run, __doc__ or "")
