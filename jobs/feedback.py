#!/usr/bin/env python
"""Converts the service's feedback to training triplets.

    python jobs/feedback.py --feedback DIR --triplets CHOSEN/triplets.train.jsonl [--catalog DATA/catalog.jsonl]

Feedback with a reference item, a text and a chosen item becomes a triplet; other feedback is only counted. With
--catalog, only items of that catalog are kept. --feedback and --catalog may be s3:// or gs:// URIs. Check the result,
then train with it: jobs/train.py --data.root DATA --data.extra [CHOSEN].
"""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pydantic import Field

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.client.feedback import export_triplets
from cirray.config.command import Command
from cirray.config.command_line import main
from cirray.config.help import help_text
from cirray.config.options import File, Folder
from cirray.config.options import Options as Base
from cirray.config.section import Configuration


class Options(Base):
    """The own options of this command."""

    feedback: Folder = Field(description="feedback of a service (serve.feedback), folder or URI")
    triplets: File = Field(description="file for the triplets")
    catalog: File | None = Field(None, description="catalog whose items are kept; null = all items")


COMMAND = Command(__doc__ or "", Options, Configuration)


def run(argv: Sequence[str]) -> None:
    """Writes the triplets; prints their counts as JSON."""
    options, _ = COMMAND.read(argv)
    known = None
    if options.catalog is not None:
        from cirray.data.catalog import read_catalog

        known = frozenset(entry.id for entry in read_catalog(options.catalog).entries)
    print(json.dumps(export_triplets(options.feedback, Path(options.triplets), known)))


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
