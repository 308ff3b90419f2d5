#!/usr/bin/env python
"""Scores ranking files, made by any system, without its model or images.

    python jobs/score.py --ranks FILE --annotations FILE [--keep-reference [true|false]]
    python jobs/score.py --ranks [A,B,C] --annotations [A,B,C]    one annotation file per ranking file, and the average

--ranks: JSON that maps pair ids to names, best first (CIRR's and CIRCO's submission formats), or the FashionIQ
challenge's format, as written by jobs/rank.py. --annotations: CIRR's cap.rc2.val.json, CIRCO's val.json, FashionIQ's
cap.dress.val.json, or a triplets.val.jsonl; if the dataset has no pair ids, they are positions in the file, starting
at 0.

Prints the dataset's metrics as JSON: R@K, R_subset@K, mAP@K and so on. If lists are too short to decide a metric, it is
null, with the reason. By default the reference image is removed for CIRR and kept for other datasets, as their
protocols require. If the annotations have no targets (a test split), the ranking file is only checked.
"""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command import Command
from cirray.config.command_line import main
from cirray.config.help import help_text
from cirray.config.options import Files
from cirray.config.options import Options as Base
from cirray.config.section import Configuration
from cirray.errors import ConfigError
from cirray.evaluation.list_scores import ListScores, average_json, score_lists
from cirray.evaluation.ranking_files import read_pairs, read_rankings
from cirray.evaluation.submission_check import check_submission


class Options(Base):
    """The own options of this command."""

    ranks: Files = Field(min_length=1, description="ranking file, or [A,B,C]")
    annotations: Files = Field(min_length=1, description="annotation file of each ranking file")
    keep_reference: bool | None = Field(
        None, description="count the reference image as a result; null = as the dataset's protocol requires"
    )


COMMAND = Command(__doc__ or "", Options, Configuration)


def run(argv: Sequence[str]) -> None:
    """Scores the files; prints one JSON object."""
    options, _ = COMMAND.read(argv)
    ranks, annotations = _paths(options.ranks), _paths(options.annotations)
    if len(ranks) != len(annotations):
        raise ConfigError(
            f"--ranks has {len(ranks)} files and --annotations {len(annotations)}: give one annotation file per "
            f"ranking file"
        )
    found = [_score(*files, options.keep_reference) for files in zip(ranks, annotations, strict=True)]
    results = [
        {"ranks": str(ranked), "annotations": str(annotated), **values}
        for ranked, annotated, (values, _) in zip(ranks, annotations, found, strict=True)
    ]
    scores = [score for _, score in found if score is not None]
    average = {"average": average_json(scores)} if len(scores) == len(found) else {}
    print(json.dumps(results[0] if len(results) == 1 else {"files": results, **average}, indent=2))


def _score(ranks: Path, annotations: Path, keep: bool | None) -> tuple[dict[str, Any], ListScores | None]:
    """Returns the JSON of one file, and its scores; None if it could only be checked."""
    pairs = read_pairs(annotations)
    rankings = read_rankings(ranks, pairs)
    if not pairs.has_targets:
        return check_submission(ranks, pairs, rankings), None
    scores = score_lists(pairs, rankings, keep)
    return scores.to_json(), scores


def _paths(files: Sequence[str]) -> list[Path]:
    return [Path(file).expanduser() for file in files]


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
