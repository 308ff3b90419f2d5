import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from cirray.data import audit
from cirray.data.audit import CACHE_NAME, audit_pictures
from cirray.storage.location import Location
from tests.support.data_fixtures import write_picture


@pytest.fixture
def images(tmp_path):
    return {f"p{i}": write_picture(tmp_path / "images" / f"p{i}.png", i) for i in range(4)}


def check(images, tmp_path):
    listed = {name: f"catalog.jsonl line {number}" for number, name in enumerate(images, 1)}
    return audit_pictures(images, listed, Location.parse(tmp_path / "cache"), "white")


def forbid_decoding(monkeypatch):
    def fail(*_):
        raise AssertionError("decoded a picture that was known")

    monkeypatch.setattr(audit, "decode_rgb", fail)


def test_good_pictures_get_the_hash_of_their_bytes(images, tmp_path):
    contents, problems = check(images, tmp_path)
    assert problems == []
    assert contents == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in images.items()}


def test_all_bad_pictures_are_reported_in_order(images, tmp_path):
    images["p0"].write_bytes(b"")
    images["p2"].write_bytes(images["p2"].read_bytes()[:150])
    images["p9"] = tmp_path / "p9.png"
    for _ in range(2):  # the second time from the cache: bad files are checked again
        contents, problems = check(images, tmp_path)
        assert list(contents) == ["p1", "p3"]
        assert [problem.where for problem in problems] == [f"catalog.jsonl line {line}" for line in (1, 3, 5)]
        assert [str(images[name]) in problem.what for problem, name in zip(problems, ("p0", "p2", "p9"), strict=True)]
        assert [
            "0 bytes" in problems[0].what,
            "decoded" in problems[1].what,
            "exist" in problems[2].what,
        ] == [True] * 3


def test_cached_pictures_are_not_read_again(images, tmp_path, monkeypatch, capsys):
    first, _ = check(images, tmp_path)
    assert "checking pictures" in capsys.readouterr().err
    forbid_decoding(monkeypatch)
    assert check(images, tmp_path) == (first, [])
    assert capsys.readouterr().err == ""


def test_a_changed_picture_is_checked_again(images, tmp_path):
    first, _ = check(images, tmp_path)
    write_picture(images["p1"], seed=99, size=(13, 9))
    second, _ = check(images, tmp_path)
    assert {name for name in images if first[name] != second[name]} == {"p1"}
    images["p2"].unlink()
    _, problems = check(images, tmp_path)
    assert [problem.what for problem in problems] == [f"picture of 'p2': {images['p2']}: does not exist"]


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "null", '{"pillow": 1}', '{"pillow": "P", "files": {"a": [1]}}', "\0", "[" * 100_000],
)
def test_a_damaged_cache_is_ignored_and_rewritten(images, tmp_path, damage, monkeypatch):
    file = tmp_path / "cache" / CACHE_NAME
    file.parent.mkdir()
    file.write_text(damage.replace("P", audit.PIL.__version__))
    contents, problems = check(images, tmp_path)
    assert (len(contents), problems) == (4, [])
    assert len(json.loads(file.read_text())["files"]) == 4
    assert [path.name for path in file.parent.iterdir()] == [CACHE_NAME]


def test_the_cache_of_another_pillow_does_not_count(images, tmp_path, monkeypatch):
    check(images, tmp_path)
    monkeypatch.setattr(audit.PIL, "__version__", "0.0")
    forbid_decoding(monkeypatch)
    with pytest.raises(AssertionError):
        check(images, tmp_path)


def test_an_interrupted_check_keeps_what_it_found(images, tmp_path, monkeypatch):
    decode = audit.decode_rgb

    def interrupted(content, where, background):
        if where.endswith("p3.png"):
            raise KeyboardInterrupt
        return decode(content, where, background)

    monkeypatch.setattr(audit, "decode_rgb", interrupted)
    with pytest.raises(KeyboardInterrupt):
        check(images, tmp_path)
    assert len(json.loads((tmp_path / "cache" / CACHE_NAME).read_text())["files"]) == 3


def test_concurrent_audits_leave_a_valid_cache(images, tmp_path):
    halves = [dict(list(images.items())[:2]), dict(list(images.items())[2:])]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda half: check(half, tmp_path), halves))
    assert [len(contents) for contents, _ in results] == [2, 2]
    assert len(json.loads((tmp_path / "cache" / CACHE_NAME).read_text())["files"]) in (2, 4)


def test_two_ids_may_share_a_file(images, tmp_path):
    images["twin"] = images["p0"]
    contents, _ = check(images, tmp_path)
    assert contents["twin"] == contents["p0"]
    images["p0"].write_bytes(b"")
    _, problems = check(images, tmp_path)
    assert len(problems) == 2
