"""Checks a ranking file of a split without targets, before it is sent to the dataset's server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cirray.data.formats import load_format
from cirray.data.parsing import problem_report
from cirray.data.records import Problem
from cirray.errors import DataError
from cirray.evaluation.ranking_files import Pairs, Rankings


def check_submission(path: Path, pairs: Pairs, rankings: Rankings) -> dict[str, Any]:
    """Checks the length of the lists; `read_rankings` has checked everything else.

    Args:
        path: the ranking file, for the error message.
        pairs: the annotations, without targets.
        rankings: the rankings of all pairs.

    Returns:
        JSON of jobs/score.py that says what was found.

    Raises:
        DataError: lists all pairs whose list does not have the length that the dataset's server requires.
    """
    length = load_format(pairs.dataset).SUBMISSION_LENGTH
    problems = [
        Problem(f"pair {key}", f"lists {len(names):,} images; the server requires {length}")
        for key, names in rankings.lists.items()
        if length is not None and len(names) != length
    ]
    if problems:
        raise DataError(problem_report(str(path), problems, f"give {length} images for each query"))
    lengths = [len(names) for names in rankings.lists.values()]
    with_reference = sum(triplet.reference in rankings.lists[key] for key, triplet in pairs.triplets.items())
    return {
        "dataset": pairs.dataset,
        "queries": len(pairs.triplets),
        "images_per_query": {"fewest": min(lengths), "most": max(lengths)},
        "lists_with_reference": with_reference,
        "valid": True,
        "notes": ["the annotations have no targets: the lists were checked, and only the dataset's server scores them"],
    }
