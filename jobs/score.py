#!/usr/bin/env python
"""Scores ranking files, made by any system, without its model or images.

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
from functools import partial
from pathlib import Path

from pydantic import Field

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command import Command
from cirray.config.command_line import main
from cirray.config.help import help_text
from cirray.config.options import Files
from cirray.config.options import Options as Base
from cirray.config.section import Configuration
from cirray.errors import ConfigError
from cirray.evaluation.ranked_lists import ListScores, average_json, score_lists
from cirray.evaluation.ranking_files import read_pairs, read_rankings


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
    scores = [_score(*files, options.keep_reference) for files in zip(ranks, annotations, strict=True)]
    results = [
        {"ranks": str(ranked), "annotations": str(annotated), **score.to_json()}
        for ranked, annotated, score in zip(ranks, annotations, scores, strict=True)
    ]
    result = results[0] if len(results) == 1 else {"files": results, "average": average_json(scores)}
    print(json.dumps(result, indent=2))


def _score(ranks: Path, annotations: Path, keep: bool | None) -> ListScores:
    pairs = read_pairs(annotations)
    return score_lists(pairs, read_rankings(ranks, pairs), keep)


def _paths(files: Sequence[str]) -> list[Path]:
    return [Path(file).expanduser() for file in files]


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
