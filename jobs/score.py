#!/usr/bin/env python
"""Scores ranking files of any system, offline.

    python jobs/score.py --ranks FILE --annotations FILE [--keep-reference [true|false]]
    python jobs/score.py --ranks [A,B,C] --annotations [A,B,C]    one annotation file per ranking file, and the average

--ranks: JSON that maps pair ids to names, best first (CIRR's submission format), or the FashionIQ challenge's format,
as written by jobs/rank.py. --annotations: CIRR's cap.rc2.val.json, FashionIQ's cap.dress.val.json, or a
triplets.val.jsonl; if the dataset has no pair ids, they are positions in the file, starting at 0.

Prints R@K and R_subset@K as JSON. If lists are too short to decide a metric, it is null, with the reason. By default
the reference image is removed for CIRR and kept for other datasets, as their protocols require.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command_line import check_names, main, parse
from cirray.errors import ConfigError
from cirray.evaluation.ranked_lists import average, score_lists
from cirray.evaluation.ranking_files import read_pairs, read_rankings


def run(argv: Sequence[str]) -> None:
    """Parses, scores, prints one JSON result."""
    values = parse(argv)
    check_names(values, "ranks", "annotations", "keep_reference")
    keep = values.get("keep_reference")
    if keep is not None and not isinstance(keep, bool):
        raise ConfigError(f"--keep-reference is true or false, not {keep!r}")
    ranks, annotations = _files(values, "ranks"), _files(values, "annotations")
    if len(ranks) != len(annotations):
        raise ConfigError(f"{len(ranks)} files of --ranks and {len(annotations)} of --annotations: give as many")
    results = [_score(*files, keep) for files in zip(ranks, annotations, strict=True)]
    print(json.dumps(results[0] if len(results) == 1 else {"files": results, "average": average(results)}, indent=2))


def _score(ranks: Path, annotations: Path, keep: bool | None) -> dict[str, Any]:
    pairs = read_pairs(annotations)
    return {
        "ranks": str(ranks),
        "annotations": str(annotations),
        **score_lists(pairs, read_rankings(ranks, pairs), keep),
    }


def _files(values: dict[str, Any], name: str) -> list[Path]:
    value = values.get(name)
    files = [Path(file).expanduser() for file in (value if isinstance(value, list) else [value]) if file is not None]
    if not files:
        raise ConfigError(f"--{name} FILE is missing: see --help")
    return files


if __name__ == "__main__":
    main(run, __doc__ or "")
