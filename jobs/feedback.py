#!/usr/bin/env python
"""Converts the service's feedback to training triplets.

    python jobs/feedback.py --feedback DIR --triplets DATA/triplets.feedback.jsonl [--catalog DATA/catalog.jsonl]

Feedback with a reference item, a text and a chosen item becomes a triplet; other feedback is counted and left out. With
--catalog, only items of that catalog are kept. --feedback and --catalog may be s3:// or gs:// URIs. Check the result,
then append it to DATA/triplets.train.jsonl.
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
