"""Feedback becomes triplets that the training reads."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cirray.client.feedback import export_triplets
from cirray.client.schemas import Feedback
from cirray.errors import DataError
from cirray.storage.location import Location
from cirray.storage.remote import Remote
from serve.errors import FeedbackFullError
from serve.feedback import FeedbackLog, RemoteFeedbackLog, open_log


def keep(folder: Path, **feedback: Any) -> None:
    FeedbackLog(folder, 10_000).add(Feedback.model_validate(feedback), "model")


def test_what_the_service_keeps_is_exported_once_and_in_order(tmp_path: Path) -> None:
    log = FeedbackLog(tmp_path, 10_000)
    first = Feedback(reference="a", texts=["red", "longer"], chosen="b")
    for feedback in (first, Feedback(reference="a", texts=["grün"], chosen="c"), first):
        log.add(feedback, "model")
    keep(tmp_path, texts=["a red one"], chosen="b")
    keep(tmp_path, reference="a", chosen="b")
    keep(tmp_path, reference="a", texts=["same"], chosen="a")
    keep(tmp_path, reference="gone", texts=["red"], chosen="a")
    counts = export_triplets(tmp_path, tmp_path / "out.jsonl", frozenset("abc"))
    assert counts == {
        "triplets": 2,
        "without a reference item": 1,
        "without a text": 1,
        "chose the reference itself": 1,
        "names an item that is not in the catalog": 1,
    }
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == [
        {"reference": "a", "captions": ["red", "longer"], "target": "b"},
        {"reference": "a", "captions": ["grün"], "target": "c"},
    ]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    keep(tmp_path, reference="a", texts=["red"], chosen="b")
    (tmp_path / "out.jsonl").write_text("mine")
    with pytest.raises(DataError, match="exists"):
        export_triplets(tmp_path, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == "mine"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=20).filter(str.strip))
@example("a\u2028b\x85c\u2029d\x0be\x0cf\x1cg\r\nh")
def test_any_text_is_exported_as_it_was_given(text: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = Feedback(reference="a", texts=[text], chosen="b")
        FeedbackLog(folder, 10_000).add(written, "model")
        keep(folder, reference="a", texts=["red"], chosen="c")
        assert export_triplets(folder, folder / "triplets.val.jsonl") == {"triplets": 2}
        lines = (folder / "triplets.val.jsonl").read_bytes().rstrip(b"\n").split(b"\n")
        assert [json.loads(line)["captions"] for line in lines] == [written.texts, ["red"]]


def test_damaged_lines_are_reported_and_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="holds no feedback"):
        export_triplets(tmp_path, tmp_path / "out.jsonl")
    keep(tmp_path, reference="a", texts=["red"], chosen="b")
    (file,) = tmp_path.glob("*.jsonl")
    damaged = [b"{half", b"[1]", b'{"time": 5}', b"\xff", b'{"time": "2026", "chosen": 3}', b"[" * 100_000]
    lines = [b"", *damaged, file.read_bytes().strip().replace(b"red", b"blue")]
    file.write_bytes(file.read_bytes() + b"\n".join(lines))
    assert export_triplets(tmp_path, tmp_path / "out.jsonl") == {"triplets": 2, "damaged": len(damaged)}
    shown = capsys.readouterr().err
    for number in range(3, 3 + len(damaged)):
        assert f"{file}:{number} is damaged and is left out" in shown


def test_feedback_at_a_uri_is_there_when_it_is_acknowledged(bucket: str, tmp_path: Path) -> None:
    uri = f"{bucket}/feedback"
    logs = [open_log(uri, 10_000), open_log(uri, 10_000)]
    for number, log in enumerate([*logs, *logs]):
        identifier = log.add(Feedback(reference="a", texts=[f"red {number}"], chosen="b"), "model")
        kept = [json.loads(Remote(uri).read(name) or b"") for name in Remote(uri).names()]
        assert identifier in [record["id"] for record in kept]
        assert len(kept) == number + 1
    assert export_triplets(uri, tmp_path / "out.jsonl") == {"triplets": 4}
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["captions"] for line in lines] == [[f"red {number}"] for number in range(4)]


def test_feedback_at_a_uri_is_bounded(bucket: str) -> None:
    uri = f"{bucket}/feedback"
    feedback = Feedback(reference="a", texts=["red"], chosen="b")
    RemoteFeedbackLog(Location.parse(uri), 10_000).add(feedback, "model")
    (size,) = Remote(uri).names().values()
    other = RemoteFeedbackLog(Location.parse(uri), 2 * size)
    other.add(feedback, "model")
    with pytest.raises(FeedbackFullError):
        other.add(feedback, "model")
    assert len(Remote(uri).names()) == 2


def test_feedback_that_cannot_be_kept_is_refused(bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    log = RemoteFeedbackLog("s3://no-such-bucket-here/feedback", 10_000)
    with pytest.raises(FeedbackFullError, match="feedback cannot be stored at the moment"):
        log.add(Feedback(reference="a", texts=["red"], chosen="b"), "model")
    assert "s3://no-such-bucket-here/feedback" in capsys.readouterr().err


def test_damage_at_a_uri_is_named_by_its_address(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"{bucket}/feedback"
    with pytest.raises(DataError, match=f"{uri} holds no feedback"):
        export_triplets(uri, tmp_path / "out.jsonl")
    Remote(uri).write("feedback-x.jsonl", b"{half")
    Remote(uri).write("notes.txt", b"no feedback")
    assert export_triplets(uri, tmp_path / "out.jsonl") == {"triplets": 0, "damaged": 1}
    assert f"{uri}/feedback-x.jsonl:1 is damaged" in capsys.readouterr().err
