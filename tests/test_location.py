"""Folders and URIs: a real S3 server (moto's) stands for the object store."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

import cirray
from cirray.errors import LocationError
from cirray.features.store import FeatureStore
from cirray.storage.location import Remote, fetch, is_remote, join, mirror_of, pull, push, store_folder, store_location
from tests.support.bundles import write_bundle

PRINT = "ab" * 32


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert not is_remote(tmp_path)
    assert mirror_of(tmp_path) == pull(str(tmp_path)) == tmp_path
    assert fetch(tmp_path, "model.json") == tmp_path
    assert store_location(str(tmp_path)) == str(store_folder(str(tmp_path))) == str(tmp_path)
    push(tmp_path, str(tmp_path))


def test_what_is_pushed_is_pulled(bucket: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for name in ("a.json", "stage1/done.json", "stage1/checkpoints/x", ".hidden"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    place = join(bucket, "run")
    push(folder, place)
    assert sorted(Remote(place).names()) == ["a.json", "stage1/checkpoints/x", "stage1/done.json"]
    mirror = pull(place, without="checkpoints")
    found = {path.relative_to(mirror).as_posix() for path in mirror.rglob("*") if path.is_file()}
    assert found == {"a.json", "stage1/done.json"}
    Remote(place).drop("stage1")
    assert sorted(Remote(place).names()) == ["a.json"]
    Remote(place).drop("stage1")


def test_a_bundle_is_loaded_from_a_uri_and_each_version_has_its_folder(bucket: str, tmp_path: Path) -> None:
    place = join(bucket, "bundle")
    with pytest.raises(LocationError, match=r"holds nothing complete \(model\.json is missing\)"):
        cirray.load(place)
    first = write_bundle(tmp_path / "bundle", seed=1)
    push(first, place, "model.json")
    image, text = torch.ones(1, 32), "red"
    loaded = cirray.load(place)
    torch.testing.assert_close(loaded.encode_query(image, text), cirray.load(first).encode_query(image, text))
    before = fetch(place, "model.json")
    assert fetch(place, "model.json") == before
    time.sleep(1.1)  # an object store tells times in seconds
    push(write_bundle(tmp_path / "bundle", seed=2), place, "model.json")
    after = fetch(place, "model.json")
    assert after != before
    assert before.is_dir(), "who still reads it is not disturbed"


def test_a_feature_store_is_shared_by_nodes(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = join(bucket, "store")
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    FeatureStore(place, "image", PRINT).write(["a", "b", "c"], rows)
    monkeypatch.setenv("CIRRAY_HOME", str(tmp_path / "another-node"))
    other = FeatureStore(place, "image", PRINT)
    assert other.missing(["b", "d"]) == ["d"]
    assert torch.equal(other.read(["c", "a"]), torch.from_numpy(rows[[2, 0]]))
    other.write(["d"], rows[:1] + 100)
    monkeypatch.setenv("CIRRAY_HOME", str(tmp_path / "home"))
    assert FeatureStore(place, "image", PRINT).missing(["a", "d"]) == []
    assert FeatureStore(place, "image", "cd" * 32).missing(["a"]) == ["a"]


def test_what_cannot_be_reached_is_told(bucket: str) -> None:
    with pytest.raises(LocationError, match="s3://no-such-bucket-here"):
        Remote("s3://no-such-bucket-here/x").put(Path(__file__), "x")
    with pytest.raises(LocationError, match="give s3://BUCKET/PATH"):
        Remote("ftp://somewhere/x")
