#!/usr/bin/env python
"""Turns the service's feedback into triplets for training.

    python jobs/feedback.py --feedback DIR --triplets DATA/triplets.feedback.jsonl [--catalog DATA/catalog.jsonl]

A feedback with a reference item, a text and a chosen item becomes one triplet; the others are counted. With --catalog,
only items of that catalog are kept. Both may be s3:// or gs:// addresses. Append the result to
DATA/triplets.train.jsonl, after looking at it.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.client.feedback import export_triplets
from cirray.config.command_line import check_names, main, parse
from cirray.errors import ConfigError


def run(argv: Sequence[str]) -> None:
    """Parses, exports, writes one JSON result."""
    values = parse(argv)
    check_names(values, "feedback", "triplets", "catalog")
    for name in ("feedback", "triplets"):
        if not isinstance(values.get(name), str):
            raise ConfigError(f"--{name} is missing: see --help")
    known = None
    if "catalog" in values:
        from cirray.data.catalog import read_catalog

        known = frozenset(entry.id for entry in read_catalog(str(values["catalog"]))[0])
    print(json.dumps(export_triplets(values["feedback"], Path(values["triplets"]), known)))


if __name__ == "__main__":
    main(run, __doc__ or "")
