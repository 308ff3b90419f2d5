#!/usr/bin/env python
"""Measures what single changes of a recipe are worth, with several seeds each.

    python jobs/ablate.py --recipe R --data.root DIR --output OUT [--changes stage1|stage2|FILE.yaml] [--tune.seeds 3]
                          [--any.field VALUE]

FILE.yaml maps names to changed fields of stages 1 and 2. The recipe itself is the first row. If all changes are in
stage 2, the rows share stage 1 and train in parallel; otherwise each row trains both stages, one row after the other. A
held-out part of train (--data.holdout, 0.15) chooses epochs; val is only reported. Prints a table and writes
OUT/ablation.json. Run the same command again to resume.
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
