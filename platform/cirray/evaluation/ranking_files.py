"""Reads rankings that any system made, and the annotations that they are scored by.

Annotations, told apart by what their records hold:
    CIRR        [{"pairid", "reference", "target_hard", "img_set"}]     pair id: its pairid
    FashionIQ   [{"candidate", "target", "captions"}]                   pair id: the record's place, from 0
    triplets    {"reference", "captions", "target"} a line (.jsonl)     pair id: the record's place, from 0

Rankings: {pair id: [name, ...]}, best first, as CIRR's test server takes them ("version" and "metric" beside them), or
the FashionIQ challenge's [{"candidate", "captions", "ranking": [name, ...]}].
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

_BESIDE = ("version", "metric")


@dataclass(frozen=True, slots=True)
class Pairs:
    """The annotated queries of one file.

    Attributes:
        dataset: "cirr", "fashioniq" or "triplets".
        protocol: how this dataset is scored.
        triplets: pair id -> triplet, all with a target.
    """

    dataset: str
    protocol: Protocol
    triplets: Mapping[str, Triplet]


@dataclass(frozen=True, slots=True)
class Rankings:
    """What a system found.

    Attributes:
        lists: pair id -> names, best first, none twice.
        metric: "recall_subset" where the file says that its lists rank the pair's image set only, else "recall".
    """

    lists: Mapping[str, tuple[str, ...]]
    metric: str


def read_pairs(path: Path) -> Pairs:
    """Reads an annotation file of any of the three datasets.

    Raises:
        DataError: lists all that is wrong; or the file keeps its targets secret.
    """
    name = _dataset(Source(Location.parse(path.parent)), path.absolute())
    source = Source(Location.parse(path.parent))
    path = source.root / path.name
    # a split that may lack targets, so that a file without any can be told from a wrong one
    triplets = load_format(name).read_annotation_file(source, path)
    found = {triplet.pair_id or str(place): triplet for place, triplet in enumerate(triplets)}
    _raise_if_wrong(source, path, "fix them: every pair counts")
    if not found:
        raise DataError(f"{path} holds no pair")
    secret = sum(triplet.target is None for triplet in found.values())
    if secret:
        raise DataError(
            f"{path}: {secret:,} of {len(found):,} pairs have no target: a test split is scored by its dataset's server"
        )
    data = Data.model_validate({"format": name})
    return Pairs(name, load_format(name).protocol(data), found)


def _dataset(source: Source, path: Path) -> str:
    """Tells a dataset by the first record of its annotations."""
    in_array = source.is_array(path)
    first = next(source.records(path) if in_array else source.lines(path), None)
    if source.fatal:
        raise DataError(problem_report(str(path), source.fatal, "give an annotation file"))
    known = [name for name, module in all_formats().items() if first is not None and module.recognizes(first, in_array)]
    found = known[0] if known else None
    if found is None:
        raise DataError(
            f"{path} holds no annotations: a record has pairid (CIRR), candidate (FashionIQ), or is a line of its own "
            f"with reference (triplets)"
        )
    return found


def read_rankings(path: Path, pairs: Pairs) -> Rankings:
    """Reads a system's rankings of all `pairs`.

    Raises:
        DataError: lists all that is wrong: no ranking of a pair, a name twice, a pair that is not annotated.
    """
    source = Source(Location.parse(path.parent))
    path = source.root / path.name
    metric = "recall"
    if source.is_array(path):
        found = dict(_challenge(source, path, pairs))
    else:
        table = source.table(path) or {}
        metric = str(table.get("metric", metric))
        found = {key: value for key, value in table.items() if key not in _BESIDE}
    _raise_if_wrong(source, path, "rankings are one JSON object, pair id -> names")
    lists = {key: names for key, value in found.items() if (names := _names(source, f"pair {key}", value)) is not None}
    _note_pairs(source, found, pairs)
    _raise_if_wrong(source, path, "each annotated pair needs one ranking, and each name counts once")
    return Rankings(lists, metric)


def _challenge(source: Source, path: Path, pairs: Pairs) -> Iterator[tuple[str, Any]]:
    for place, record in enumerate(source.records(path)):
        triplet = pairs.triplets.get(str(place))
        if triplet is not None and record.value("candidate") != triplet.reference:
            record.note(f"candidate is not {triplet.reference!r}, which the annotations have in this place")
        yield str(place), record.value("ranking")


def _names(source: Source, where: str, value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        source.note(where, "its ranking must be a list of image names")
        return None
    if len(set(value)) < len(value):
        twice = next(name for place, name in enumerate(value) if name in value[:place])
        source.note(where, f"{twice!r} is there twice")
    return tuple(value)


def _note_pairs(source: Source, found: Mapping[str, Any], pairs: Pairs) -> None:
    absent = [key for key in pairs.triplets if key not in found]
    if absent:
        source.note(f"{len(absent):,} of {len(pairs.triplets):,} pairs", f"have no ranking, such as pair {absent[0]}")
    strange = [key for key in found if key not in pairs.triplets]
    if strange:
        what = f"are of pairs that are not annotated, such as {strange[0]!r}: are the annotations of another split?"
        source.note(f"{len(strange):,} of {len(found):,} rankings", what)


def _raise_if_wrong(source: Source, path: Path, remedy: str) -> None:
    problems = [*source.fatal, *source.problems]
    if problems:
        raise DataError(problem_report(str(path), problems, remedy))
