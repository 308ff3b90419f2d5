"""Reads an exam: a folder in the data format "triplets", with what is known about its answers.

    root/manifest.json                 {"version": int, "attributes": [names of attributes of the items], ...}
    root/catalog.jsonl                 as in data format "triplets"; each item has values of the attributes
    root/triplets.val.jsonl            {"query", "reference", "captions", "aspects", "positives", "hard_negatives",
                                        "asked": {attribute: value}, "kept": [attribute]}
    root/exam.two_references.jsonl     the same with "references": [id, id], one caption for each, and "single": the
                                       query of one reference that has the same answers
    root/exam.negatives.jsonl          {"query", "reference", "captions", "not": {"text"} or {"id"},
                                        "unwanted": {attribute: value}, ...} and the other keys of triplets.val.jsonl
    root/exam.rounds.jsonl             {"query", "start": id, "target": id, "positives": [id],
                                        "say": {attribute: caption}}

Queries of one name are paraphrases. Optional: "aspects", "hard_negatives".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cirray.data.exam.records import Exam, Goal, Negative, Query, Value
from cirray.data.parsing import Record, Source, problem_report
from cirray.errors import DataError
from cirray.storage.location import Location

MANIFEST = "manifest.json"
CATALOG = "catalog.jsonl"
QUERIES = "triplets.val.jsonl"
TWO_REFERENCES = "exam.two_references.jsonl"
NEGATIVES = "exam.negatives.jsonl"
ROUNDS = "exam.rounds.jsonl"


@dataclass(slots=True)
class _Reader:
    source: Source
    attributes: tuple[str, ...]
    items: dict[str, dict[str, Value]] = field(default_factory=dict)

    def catalog(self) -> None:
        for record in self.source.lines(self.source.root / CATALOG):
            identifier = record.id("id")
            if identifier is not None:
                values = {name: record.value(name) for name in self.attributes}
                self.items[identifier] = {name: value for name, value in values.items() if value is not None}

    def queries(self) -> Iterator[Query]:
        for record in self.source.lines(self.source.root / QUERIES):
            query = self._one_reference(record)
            if query is not None:
                yield query

    def two_references(self) -> Iterator[Query]:
        for record in self.source.lines(self.source.root / TWO_REFERENCES):
            references, captions = self._ids(record, "references"), record.texts("captions")
            if captions is not None and not len(references) == len(captions) == 2:
                record.note("needs two references, and a caption for each")
            if references and captions:
                yield self._query(record, references, captions)

    def negatives(self) -> Iterator[Negative]:
        for record in self.source.lines(self.source.root / NEGATIVES):
            query, wanted_not, unwanted = self._one_reference(record), record.record("not"), record.record("unwanted")
            if query is None or wanted_not is None or unwanted is None:
                continue
            if wanted_not.has("text") == wanted_not.has("id"):
                wanted_not.note("not: give either a text or an id")
            elif wanted_not.has("text"):
                yield Negative(query, wanted_not.text("text") or "", "", dict(unwanted.items()))
            else:
                shown = wanted_not.known_id("id", self.items, CATALOG, integers=True)
                yield Negative(query, "", shown or "", dict(unwanted.items()))

    def goals(self) -> Iterator[Goal]:
        for record in self.source.lines(self.source.root / ROUNDS):
            name, say = record.text("query"), record.record("say")
            start, target = (record.known_id(key, self.items, CATALOG, integers=True) for key in ("start", "target"))
            if name is not None and say is not None and start is not None and target is not None:
                captions = {key: say.text(key) or "" for key, _ in say.items()}
                yield Goal(name, start, self._ids(record, "positives"), captions, self.items[target])

    def _one_reference(self, record: Record) -> Query | None:
        reference = record.known_id("reference", self.items, CATALOG, integers=True)
        captions = record.texts("captions")
        if reference is None or captions is None:
            return None
        if len(captions) != 1:
            record.note(f"a query of an exam has one caption, not {len(captions)}: write a line per wording")
        return self._query(record, (reference,), captions)

    def _query(self, record: Record, references: tuple[str, ...], captions: tuple[str, ...]) -> Query:
        asked = record.record("asked")
        kept = record.texts("kept") or ()
        first = self.items[references[0]]
        for name in kept:
            if name not in first:
                record.note(f"kept: the reference has no attribute {name}")
        return Query(
            name=record.text("query") or "",
            references=references,
            captions=captions,
            positives=self._ids(record, "positives"),
            hard_negatives=self._ids(record, "hard_negatives", optional=True),
            asked=dict(asked.items()) if asked is not None else {},
            kept={name: first[name] for name in kept if name in first},
            aspects=record.texts("aspects") or () if record.has("aspects") else (),
            single=record.label("single"),
        )

    def _ids(self, record: Record, key: str, optional: bool = False) -> tuple[str, ...]:
        """Returns the ids in a list; an empty list is a problem unless it is optional."""
        value = record.value(key)
        if optional and not value:
            return ()
        if not isinstance(value, list) or not value:
            record.note(f"{key} must be a list of ids")
            return ()
        ids = tuple(str(identifier) for identifier in value)
        unknown = [identifier for identifier in ids if identifier not in self.items]
        if unknown:
            record.note(f"{key}: {', '.join(unknown)} not in {CATALOG}")
        return () if unknown else ids


def read_exam(root: Path | str) -> Exam:
    """Reads an exam from a folder or URI. The pictures are not checked.

    Raises:
        DataError: lists all problems, with file and line.
        LocationError: the URI holds nothing, or cannot be reached.
    """
    source = Source(Location.parse(root))
    manifest = source.table(source.root / MANIFEST) or {}
    attributes = manifest.get("attributes")
    if not isinstance(attributes, list) or not isinstance(manifest.get("version"), int):
        raise DataError(
            f"{root} is no exam: {MANIFEST} must have a version and a list of attributes. "
            f"Draw one with jobs/exam.py --catalog DIR --exam DIR"
        )
    reader = _Reader(source, tuple(str(name) for name in attributes))
    reader.catalog()
    exam = Exam(
        manifest,
        reader.items,
        queries=tuple(reader.queries()),
        two_references=tuple(reader.two_references()),
        goals=tuple(reader.goals()),
        negatives=tuple(reader.negatives()),
    )
    problems = [*source.fatal, *source.problems]
    if problems:
        raise DataError(problem_report(str(root), problems, "draw the exam again with jobs/exam.py"))
    if not exam.queries:
        raise DataError(f"{root}/{QUERIES} has no queries: draw the exam again with jobs/exam.py")
    return exam
