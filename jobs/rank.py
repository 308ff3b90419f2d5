#!/usr/bin/env python
"""Ranks every query of a split with a bundle and writes ranking files, for a test server or for jobs/score.py.

    python jobs/rank.py --bundle BUNDLE --data.format cirr --data.root CIRR --output DIR [--split test] [--top 50]

CIRR: DIR/test1_pred_ranks_recall.json and DIR/test1_pred_ranks_recall_subset.json, in the test server's format.
CIRCO: DIR/submission_test.json, in the test server's format.
FashionIQ: DIR/dress.test.pred.json and so on, in the challenge's format. Your own triplets: DIR/test.ranks.json.
"""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pydantic import Field

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command import Command
from cirray.config.command_line import main
from cirray.config.evaluation import SplitConfig
from cirray.config.help import help_text
from cirray.config.options import Folder, Name
from cirray.config.options import Options as Base
from cirray.config.section import Positive


class Options(Base):
    """The own options of this command."""

    bundle: Folder = Field(description="the bundle folder of a finished training, OUTPUT/bundle")
    split: Name = Field("test", description="split to rank")
    top: Positive = Field(50, description="maximum names per ranking")


COMMAND = Command(__doc__ or "", Options, SplitConfig)


def run(argv: Sequence[str]) -> None:
    """Ranks; writes the files and prints one JSON object."""
    options, config = COMMAND.read(argv)
    from cirray.evaluation.submission import rank_bundle  # imports torch and Ray, so only after the arguments are valid

    print(json.dumps(rank_bundle(options.bundle, config, options.split, options.top), indent=2))


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
