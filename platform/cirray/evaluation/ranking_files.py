"""Reads rankings, made by any system, and the annotations to score them.

The format of annotations is detected from the first record:
    CIRR        [{"pairid", "reference", "target_hard", "img_set"}]       pair id: its pairid
    CIRCO       [{"id", "reference_img_id", "target_img_id", ...}]        pair id: its id
    FashionIQ   [{"candidate", "target", "captions"}]                     pair id: index of the record, from 0
    triplets    {"reference", "captions", "target"}, one per line         pair id: index of the record, from 0

Rankings are {pair id: [name, ...]}, best first, with optional "version" and "metric", as CIRR's test server accepts
them, or the FashionIQ challenge's [{"candidate", "captions", "ranking": [name, ...]}]. CIRCO's names are integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cirray.config.data import Data
from cirray.data.formats import all_formats, load_format
from cirray.data.parsing import Source, problem_report
from cirray.data.records import Protocol, Triplet
from cirray.errors import DataError
from cirray.storage.location import Location

_METADATA = ("version", "metric")


@dataclass(frozen=True, slots=True)
class Pairs:
    """The annotated queries of one annotation file.

    Attributes:
        dataset: "circo", "cirr", "fashioniq" or "triplets".
        protocol: the dataset's evaluation protocol.
        triplets: pair id -> triplet; all have a target, or, in a test split, none.
    """

    dataset: str
    protocol: Protocol
    triplets: Mapping[str, Triplet]

    @property
    def has_targets(self) -> bool:
        """Whether rankings of the pairs can be scored."""
        return all(triplet.target is not None for triplet in self.triplets.values())


@dataclass(frozen=True, slots=True)
class Rankings:
    """The rankings of one ranking file.

    Attributes:
        lists: pair id -> distinct names, best first.
        metric: "recall_subset" if the file declares that its lists rank image sets only, else "recall".
    """

    lists: Mapping[str, tuple[str, ...]]
    metric: str


def read_pairs(path: Path) -> Pairs:
    """Reads an annotation file of any supported dataset.

    Raises:
        DataError: the file has errors, all of which are listed, or only some pairs have a target.
    """
    name = _dataset(Source(Location.parse(path.parent)), path.absolute())
    source = Source(Location.parse(path.parent))
    path = source.root / path.name
    triplets = load_format(name).read_annotation_file(source, path)  # allows missing targets; reported below
    pairs = {triplet.pair_id or str(index): triplet for index, triplet in enumerate(triplets)}
    _raise_problems(source, path, "fix them: every pair is scored")
    if not pairs:
        raise DataError(f"{path} has no pairs")
    without_target = sum(triplet.target is None for triplet in pairs.values())
    if 0 < without_target < len(pairs):
        raise DataError(
            f"{path}: {without_target:,} of {len(pairs):,} pairs have no target: give all targets, or none as in a "
            f"test split, which is only checked"
        )
    data = Data.model_validate({"format": name})
    return Pairs(name, load_format(name).protocol(data), pairs)


def _dataset(source: Source, path: Path) -> str:
    """Returns the name of the dataset format that recognizes the first record."""
    in_array = source.is_array(path)
    first = next(source.records(path) if in_array else source.lines(path), None)
    if source.fatal:
        raise DataError(problem_report(str(path), source.fatal, "give an annotation file"))
    names = [name for name, module in all_formats().items() if first is not None and module.recognizes(first, in_array)]
    if not names:
        raise DataError(
            f"{path} is not an annotation file: expected records with pairid (CIRR), reference_img_id (CIRCO) or "
            f"candidate (FashionIQ), or one per line with reference (triplets)"
        )
    return names[0]


def read_rankings(path: Path, pairs: Pairs) -> Rankings:
    """Reads a system's rankings of all `pairs`.

    Raises:
        DataError: lists all errors: pairs without a ranking, duplicate names, rankings of unknown pairs.
    """
    source = Source(Location.parse(path.parent))
    path = source.root / path.name
    metric = "recall"
    if source.is_array(path):
        entries = dict(_challenge(source, path, pairs))
    else:
        table = source.table(path) or {}
        metric = str(table.get("metric", metric))
        entries = {key: value for key, value in table.items() if key not in _METADATA}
    _raise_problems(source, path, "rankings are one JSON object, pair id -> names")
    kind = load_format(pairs.dataset).RANKED_TYPE
    lists = {
        key: names
        for key, value in entries.items()
        if (names := _names(source, f"pair {key}", value, kind)) is not None
    }
    _note_pairs(source, entries, pairs)
    _raise_problems(source, path, "each annotated pair needs one ranking, without duplicate names")
    return Rankings(lists, metric)


def _challenge(source: Source, path: Path, pairs: Pairs) -> Iterator[tuple[str, Any]]:
    for index, record in enumerate(source.records(path)):
        triplet = pairs.triplets.get(str(index))
        if triplet is not None and record.value("candidate") != triplet.reference:
            record.note(f"candidate must be {triplet.reference!r}, as in the annotation with this index")
        yield str(index), record.value("ranking")


def _names(source: Source, where: str, value: Any, kind: type) -> tuple[str, ...] | None:
    """Returns the names of a ranking, whose JSON type is `kind`; integers as text."""
    if not isinstance(value, list) or not all(type(name) is kind for name in value):
        source.note(where, f"its ranking must be a list of image {'ids as integers' if kind is int else 'names'}")
        return None
    if len(set(value)) < len(value):
        duplicate = next(name for index, name in enumerate(value) if name in value[:index])
        source.note(where, f"{duplicate!r} is listed twice")
    return tuple(map(str, value))


def _note_pairs(source: Source, entries: Mapping[str, Any], pairs: Pairs) -> None:
    """Reports pairs without a ranking, and rankings of pairs without an annotation."""
    missing = [key for key in pairs.triplets if key not in entries]
    if missing:
        source.note(f"{len(missing):,} of {len(pairs.triplets):,} pairs", f"have no ranking, such as pair {missing[0]}")
    unknown = [key for key in entries if key not in pairs.triplets]
    if unknown:
        problem = f"are of pairs without annotation, such as {unknown[0]!r}: are the annotations of another split?"
        source.note(f"{len(unknown):,} of {len(entries):,} rankings", problem)


def _raise_problems(source: Source, path: Path, remedy: str) -> None:
    problems = [*source.fatal, *source.problems]
    if problems:
        raise DataError(problem_report(str(path), problems, remedy))
