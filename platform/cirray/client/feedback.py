"""Makes triplets of feedback: the chosen item is the target image."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import ValidationError

from cirray.client.schemas import Feedback
from cirray.console.bars import bar
from cirray.console.log import log
from cirray.errors import DataError
from cirray.storage.files import write_text
from cirray.storage.location import Location

PATTERN = "feedback-*.jsonl"
_THREADS = 16


def export_triplets(folder: Path | str, output: Path, known: frozenset[str] | None = None) -> dict[str, int]:
    """Writes the triplets (format "triplets") of a folder of feedback, oldest first and without duplicates.

    Args:
        folder: the service's feedback folder, or its URI.
        output: a file that does not exist yet, such as DATA/triplets.feedback.jsonl.
        known: ids of the catalog to train on; feedback on other items is skipped. None keeps all.

    Returns:
        The number of triplets written, and the number skipped by reason. Each damaged line is logged and skipped.

    Raises:
        DataError: there is no feedback, or the output exists.
        LocationError: the URI cannot be reached.
    """
    if output.exists():
        raise DataError(f"{output} exists, and is not overwritten: give another name")
    counts: Counter[str] = Counter()
    triplets: dict[str, None] = {}
    for feedback in _records(Location.parse(folder)):
        reason = _unusable(feedback, known) if feedback else "damaged"
        if feedback is None or reason:
            counts[reason] += 1
            continue
        triplet = {"reference": feedback.reference, "captions": feedback.texts, "target": feedback.chosen}
        triplets[json.dumps(triplet, ensure_ascii=False)] = None
    write_text(output, "".join(f"{line}\n" for line in triplets))
    return {"triplets": len(triplets), **counts}


def _unusable(feedback: Feedback, known: frozenset[str] | None) -> str:
    if feedback.reference is None:
        return "without a reference item"
    if not feedback.texts:
        return "without a text"
    if feedback.reference == feedback.chosen:
        return "chose the reference itself"
    if known is not None and not {feedback.reference, feedback.chosen} <= known:
        return "names an item that is not in the catalog"
    return ""


def _files(folder: Location) -> dict[str, bytes]:
    """Returns the path or URI of each feedback file -> its content."""
    names = [name for name in folder.names() if fnmatchcase(name, PATTERN) and "/" not in name]
    found = {}
    with bar(len(names), "reading feedback", "files") as shown, ThreadPoolExecutor(_THREADS) as pool:
        for name, content in zip(names, pool.map(folder.read, names), strict=True):
            found[str(folder / name)] = content or b""
            shown.update()
    return found


def _records(folder: Location) -> Iterator[Feedback | None]:
    """Yields all feedback, oldest first, and None for each damaged line. Only a line feed ends a line."""
    files = _files(folder)
    if not files:
        raise DataError(f"{folder} holds no feedback ({PATTERN}): give the folder that serve.feedback names")
    lines: list[tuple[str, Feedback | None]] = []
    for file, content in files.items():
        for number, line in enumerate(content.split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                lines.append(_parsed(line))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "not a feedback record"
                log(f"{file}:{number} is damaged and is left out: {reason}")
                lines.append(("", None))
    yield from (feedback for _, feedback in sorted(lines, key=lambda entry: entry[0]))


def _parsed(line: bytes) -> tuple[str, Feedback]:
    """Returns the time and the feedback of a line. A `ValidationError` is a ValueError."""
    record = json.loads(line.decode())
    if not isinstance(record["time"], str):
        raise TypeError("the time must be a text")
    feedback = Feedback.model_validate({name: record.get(name) for name in Feedback.model_fields})
    return record["time"], feedback
