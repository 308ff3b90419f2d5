#!/usr/bin/env python
"""Ranks every query of a split with a bundle and writes ranking files, for a test server or for jobs/score.py.

    python jobs/rank.py --bundle BUNDLE --data.format cirr --data.root CIRR --output DIR [--split test] [--top 50]

CIRR: DIR/test1_pred_ranks_recall.json and DIR/test1_pred_ranks_recall_subset.json, in its server's format. FashionIQ:
DIR/dress.test.pred.json and so on, in the challenge's format. Your own triplets: DIR/test.ranks.json.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command_line import main, parse
from cirray.config.recipe import load_recipe
from cirray.errors import ConfigError


def run(argv: Sequence[str]) -> None:
    """Parses, ranks, writes the files, prints one JSON result."""
    values = parse(argv)
    folder, split, top = values.pop("bundle", None), values.pop("split", "test"), values.pop("top", 50)
    if not isinstance(folder, str):
        raise ConfigError("--bundle DIR is missing: the bundle folder of a finished training, OUTPUT/bundle")
    if not isinstance(top, int) or isinstance(top, bool) or top < 1:
        raise ConfigError(f"--top is how many names a list gets, a whole number from 1, not {top!r}")
    config = load_recipe("default", values)
    from cirray.evaluation.submission import rank_bundle  # a wrong setting fails before torch and Ray are loaded

    print(json.dumps(rank_bundle(folder, config, split, top), indent=2))


if __name__ == "__main__":
    main(run, __doc__ or "")
