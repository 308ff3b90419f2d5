#!/usr/bin/env python
"""Evaluates a bundle on a split with the dataset's own protocol.

    python jobs/evaluate.py --bundle OUTPUT/bundle --data.format triplets --data.root DIR [--split val] [--titles]
                            [--output DIR]

Prints a table. --titles also scores the images' titles as queries of text alone: title -> image recall. With
--output DIR, writes DIR/evaluation.json; otherwise also prints the results as JSON.
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
from cirray.config.evaluation import EvaluateConfig
from cirray.config.help import help_text
from cirray.config.options import Folder, Name
from cirray.config.options import Options as Base
from cirray.console.log import log


class Options(Base):
    """The own options of this command."""

    bundle: Folder = Field(description="the bundle folder of a finished training, OUTPUT/bundle")
    split: Name = Field("val", description="split to evaluate")
    titles: bool = Field(False, description="also score the titles of the gallery's images as queries of text alone")


COMMAND = Command(__doc__ or "", Options, EvaluateConfig)


def run(argv: Sequence[str]) -> None:
    """Evaluates; prints the table, and writes or prints the results as JSON."""
    options, config = COMMAND.read(argv)
    from cirray.evaluation.bundle import evaluate_bundle  # imports torch and Ray, so only after the arguments are valid

    report, table = evaluate_bundle(options.bundle, config, options.split, options.titles)
    print(table)
    if config.output:
        from cirray.storage.files import write_json
        from cirray.storage.location import Location

        file = Location.parse(config.output) / "evaluation.json"
        write_json(file.local, report)
        file.push()
        log(f"results    {file}")
    else:
        print(json.dumps(report["results"]))


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
