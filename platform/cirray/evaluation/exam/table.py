"""The result of an exam as a text table: a row for each measure, a column for each combining function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Beginning of a measure's name -> title of its part.
_PARTS = {
    "two ": "two references",
    "not ": "negative queries",
    "join ": "rounds, captions joined",
    "replace ": "rounds, first answer as new reference",
}
_FIRST = "one reference"


def text_table(report: Mapping[str, Any]) -> str:
    """Formats the report of `score_exam`. Its first column has all measures."""
    measures: Mapping[str, Mapping[str, float]] = report["measures"]
    counts, exam = report["counts"], report["exam"]
    columns = list(measures)
    names = list(measures[columns[0]])
    label = max(len(name) for name in names) + 4
    widths = [max(len(name), 7) + 2 for name in columns]
    lines = [
        f"Exam version {exam['version']}: {counts['queries']} queries in {counts['wordings']} wordings, "
        f"{counts['two_references']} of two references, {counts['negatives']} negative, "
        f"{counts['goals']} goals of several rounds, "
        f"{counts['gallery']:,} images",
        "In percent, except rounds@K, the mean number of rounds",
        " " * label + "".join(name.rjust(width) for name, width in zip(columns, widths, strict=True)),
        "-" * (label + sum(widths)),
    ]
    part = ""
    for name in names:
        title, prefix = _part_of(name)
        if title != part:
            lines.append(title)
            part = title
        cells = (_cell(measures[column].get(name)).rjust(width) for column, width in zip(columns, widths, strict=True))
        lines.append(f"  {name.removeprefix(prefix)}".ljust(label) + "".join(cells))
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    """Formats a measure; "-" if it was not taken."""
    return "-" if value is None else f"{value:.2f}"


def _part_of(name: str) -> tuple[str, str]:
    """Returns the title of a measure's part, and the beginning of its name that the title replaces."""
    for prefix, title in _PARTS.items():
        if name.startswith(prefix):
            return title, prefix
    return _FIRST, ""
