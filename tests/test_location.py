"""Locations: folders, and URIs of a real S3 server (moto's)."""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import cirray
from cirray.errors import LocationError
from cirray.features.store import FeatureStore
from cirray.storage.location import Location, is_uri
from cirray.storage.remote import Remote
from tests.support.bundles import write_bundle

PRINT = "ab" * 32


def pushed(folder: Path, location: Location, last: str | None = None) -> None:
    """Copies a folder into a location's mirror and pushes it."""
    for path in folder.rglob("*"):
        if path.is_file():
            to = location.local / path.relative_to(folder)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(path.read_bytes())
    location.push(last)


def test_a_folder_is_itself(tmp_path: Path) -> None:
    location = Location.parse(tmp_path)
    assert not is_uri(str(tmp_path))
    assert not location.is_remote
    location.pull()
    location.push()
    assert location.local == location.fetch("model.json") == tmp_path
    assert location / "a" / "b" == Location.parse(tmp_path / "a" / "b") == location / "a/b"
    assert str(location / "a") == str(tmp_path / "a")
    configured = Location.configured(str(tmp_path), "store")
    assert str(configured) == str(configured.local) == str(tmp_path)


def test_paths_become_absolute_and_keep_their_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in ("link", "~/link", str(tmp_path / "link")):
        location = Location.parse(text)
        assert str(location) == str(tmp_path / "link")
        assert location.resolve() == Location.configured(text, "store") == Location.parse(tmp_path / "there")


def test_a_setting_that_is_empty_has_a_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRRAY_HOME", str(tmp_path))
    assert Location.configured("", "store").local == tmp_path / "store"
    assert str(Location.configured("s3://b/store/", "store")) == "s3://b/store"


def test_what_is_below_a_uri_lies_in_its_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRRAY_HOME", str(tmp_path / "one"))
    run = Location.parse("s3://b/run/")
    step = run / "stage1" / "encoder"
    assert (str(run), str(step)) == ("s3://b/run", "s3://b/run/stage1/encoder")
    assert run.is_remote
    assert step.local == run.local / "stage1" / "encoder"
    assert run.local.parent == tmp_path / "one" / "mirrors"
    assert len({run, step, run / "stage1/encoder", Location.parse("s3://b/run")}) == 2
    sent = pickle.dumps(step)
    monkeypatch.setenv("CIRRAY_HOME", str(tmp_path / "two"))
    received = pickle.loads(sent)  # noqa: S301
    assert received == step
    assert received.local.is_relative_to(tmp_path / "two"), "each machine has a mirror of its own"


def test_files_of_a_folder_and_of_a_uri(bucket: str, tmp_path: Path) -> None:
    for location in (Location.parse(tmp_path / "here"), Location.parse(f"{bucket}/there")):
        assert location.names() == []
        assert location.read("a/b.json") is None
        assert location.stamp("a/b.json") == ""
        location.write("a/b.json", b"one")
        location.write("c", b"")
        assert location.names() == ["a/b.json", "c"]
        assert (location.read("a/b.json"), location.read("c")) == (b"one", b"")
        before = location.stamp("a/b.json")
        assert before == location.stamp("a/b.json") != ""
        location.write("a/b.json", b"three")
        assert location.stamp("a/b.json") != before
        (location / "a").drop()
        assert location.names() == ["c"]


def test_a_stamp_changes_with_the_link_that_leads_to_it(tmp_path: Path) -> None:
    for name in ("one", "two"):
        Location.parse(tmp_path / name).write("model.json", b"{}")
    link = tmp_path / "link"
    link.symlink_to("one")
    before = Location.parse(link).stamp("model.json")
    link.unlink()
    link.symlink_to("two")
    assert Location.parse(link).stamp("model.json") != before


def test_what_is_pushed_is_pulled(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    for name in ("a.json", "stage1/done.json", "stage1/checkpoints/x", ".hidden"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    uri = f"{bucket}/run"
    pushed(folder, Location.parse(uri))
    assert sorted(Remote(uri).names()) == ["a.json", "stage1/checkpoints/x", "stage1/done.json"]
    monkeypatch.setenv("CIRRAY_HOME", str(tmp_path / "another"))
    location = Location.parse(uri)
    location.pull(without="checkpoints")
    mirror = location.local
    found = {path.relative_to(mirror).as_posix() for path in mirror.rglob("*") if path.is_file()}
    assert found == {"a.json", "stage1/done.json"}
    (mirror / "a.json").write_text("changed")
    (location / "a.json").push()
    assert Remote(uri).read("a.json") == b"changed"
    (location / "stage1").drop()
    assert sorted(Remote(uri).names()) == ["a.json"]
    assert not (mirror / "stage1").exists()
    (location / "stage1").drop()


def test_a_bundle_is_loaded_from_a_uri_and_each_version_has_its_folder(bucket: str, tmp_path: Path) -> None:
    location = Location.parse(bucket) / "bundle"
    with pytest.raises(LocationError, match=r"is incomplete \(model\.json is missing\)"):
        cirray.load(str(location))
    first = write_bundle(tmp_path / "bundle", seed=1)
    pushed(first, location, "model.json")
    image, text = torch.ones(1, 32), "red"
    loaded = cirray.load(str(location))
    torch.testing.assert_close(loaded.encode_query(image, text), cirray.load(first).encode_query(image, text))
    before = location.fetch("model.json")
    assert location.fetch("model.json") == before
    time.sleep(1.1)  # an object store tells times in seconds
    pushed(write_bundle(tmp_path / "bundle", seed=2), location, "model.json")
    after = location.fetch("model.json")
    assert after != before
    assert before.is_dir(), "who still reads it is not disturbed"


def test_the_manifest_is_pushed_last(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr(Remote, "put", lambda self, file, name: sent.append(name))
    for name in ("z", "a", "m.json", "folder/b"):
        (tmp_path / "made" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / name).write_text("")
    pushed(tmp_path / "made", Location.parse(f"{bucket}/made"), "m.json")
    assert (sorted(sent), sent[-1]) == (["a", "folder/b", "m.json", "z"], "m.json")


def test_a_feature_store_is_shared_by_nodes(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location = Location.parse(bucket) / "store"
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    FeatureStore(location, "image", PRINT).write(["a", "b", "c"], rows)
    monkeypatch.setenv("CIRRAY_HOME", str(tmp_path / "another-node"))
    other = FeatureStore(location, "image", PRINT)
    assert other.missing(["b", "d"]) == ["d"]
    assert torch.equal(other.read(["c", "a"]), torch.from_numpy(rows[[2, 0]]))
    other.write(["d"], rows[:1] + 100)
    monkeypatch.setenv("CIRRAY_HOME", str(tmp_path / "home"))
    assert FeatureStore(location, "image", PRINT).missing(["a", "d"]) == []
    assert FeatureStore(location, "image", "cd" * 32).missing(["a"]) == ["a"]


def test_what_cannot_be_reached_is_told(bucket: str) -> None:
    with pytest.raises(LocationError, match="s3://no-such-bucket-here"):
        Remote("s3://no-such-bucket-here/x").put(Path(__file__), "x")
    with pytest.raises(LocationError, match="s3://no-such-bucket-here"):
        Location.parse("s3://no-such-bucket-here/x").write("a", b"")
    with pytest.raises(LocationError, match="give s3://BUCKET/PATH"):
        Location.parse("ftp://somewhere/x").names()
