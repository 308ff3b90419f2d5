#!/usr/bin/env python
"""Makes training triplets from the attributes and titles of a catalog or product feed.

    python jobs/triplets.py --catalog FEED --output DATA [--count 20000] [--exclude [brand,price]]

A triplet is two products that differ in one to three attributes, or in a few words of their titles, with captions that
name the difference. DATA gets catalog.jsonl, triplets.train.jsonl and triplets.val.jsonl (no product in both) and
links to the pictures: train with jobs/train.py --data.format triplets --data.root DATA. Prints examples, and what
changes in how many triplets.
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
from cirray.config.help import help_text
from cirray.config.options import FileOrFolder, Folder
from cirray.config.options import Options as Base
from cirray.config.triplets import TripletsConfig


class Options(Base):
    """The own options of this command."""

    catalog: FileOrFolder = Field(description="product feed or catalog: .csv, .tsv, .jsonl, .parquet or a folder")
    output: Folder = Field(description="folder for the triplets")


COMMAND = Command(__doc__ or "", Options, TripletsConfig, {"count": "triplets.count", "exclude": "triplets.exclude"})


def run(argv: Sequence[str]) -> None:
    """Reads the catalog, writes the triplets, prints examples and one JSON result."""
    options, config = COMMAND.read(argv)
    from cirray.data.made_triplets.examples import examples_of
    from cirray.data.made_triplets.make import make_triplets

    made = make_triplets(options.catalog, Path(options.output), config)
    print("\n".join(examples_of(made, config.seed)))
    result = {
        "triplets": {name: len(pairs) for name, pairs in made.splits.items()},
        "changes": made.changes(),
        "left_out": made.left_out,
        "identical_pictures": made.identical,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
