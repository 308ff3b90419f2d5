"""Datasets and catalogs at a URI: read as from a folder, with pictures that stay where they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from cirray.config.compute import Embedding
from cirray.config.data import Data, Preprocess
from cirray.data.catalog import Entry, read_catalog
from cirray.data.images import PictureError, open_rgb
from cirray.data.load import load_dataset
from cirray.data.records import Dataset, Problem
from cirray.errors import DataError, LocationError
from cirray.features.embed import DecodePixels, pixels_fingerprint
from cirray.features.ensure import pictures_of
from cirray.features.fill import fill
from cirray.features.store import FeatureStore
from cirray.storage.location import Location
from cirray.storage.remote import Remote
from tests.support.data_fixtures import (
    cirr_record,
    pair,
    write_catalog,
    write_fashioniq,
    write_json,
    write_lines,
    write_picture,
)
from tests.support.object_store import upload


def read(catalog: str) -> tuple[list[Entry], list[Problem]]:
    found = read_catalog(catalog)
    return found.entries, found.problems


def fashioniq(root: Path) -> Data:
    captions = {f"dress.{split}": [pair("a", "b", "is red", "has dots")] for split in ("train", "val")}
    splits = {name: ["a", "b"] for name in captions}
    write_json(root / "titles.json", {"a": "a dress"})
    return write_fashioniq(root, captions, splits, ["a.png", "b.jpg"])


def cirr(root: Path) -> Data:
    members = [f"m{number}" for number in range(6)]
    for split in ("train", "val"):
        write_json(root / "cirr" / "captions" / f"cap.rc2.{split}.json", [cirr_record(1, "m0", "m1", members)])
        table = {name: f"./dev/{name}.png" for name in members}
        write_json(root / "cirr" / "image_splits" / f"split.rc2.{split}.json", table)
    for number, name in enumerate(members):
        write_picture(root / "img_raw" / "dev" / f"{name}.png", number)
    return Data(format="cirr", root=str(root))


def loaded(data: Data, cache: Path | str) -> Dataset:
    return load_dataset(data, Location.parse(cache), "white")


@pytest.mark.parametrize("write", [write_catalog, fashioniq, cirr])
def test_a_dataset_is_the_same_at_a_uri(write: Callable[[Path], Data], bucket: str, tmp_path: Path) -> None:
    here = write(tmp_path / "data")
    upload(tmp_path / "data", f"{bucket}/data")
    there = here.model_copy(update={"root": f"{bucket}/data/"})
    expected, found = loaded(here, tmp_path / "cache"), loaded(there, tmp_path / "cache")
    assert (found.contents, found.splits, found.titles) == (expected.contents, expected.splits, expected.titles)
    assert {name: str(picture) for name, picture in found.images.items()} == {
        name: f"{bucket}/data/{Path(str(picture)).relative_to(tmp_path / 'data').as_posix()}"
        for name, picture in expected.images.items()
    }
    mirrored = [path.suffix for path in Location.parse(f"{bucket}/data").local.rglob("*") if path.is_file()]
    assert set(mirrored) <= {".json", ".jsonl"}, "pictures stay where they are"


def test_what_is_known_of_pictures_is_kept_at_the_store_for_other_machines(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_catalog(tmp_path / "data")
    upload(tmp_path / "data", f"{bucket}/data")
    data, store = Data(format="triplets", root=f"{bucket}/data"), f"{bucket}/store"
    first = loaded(data, store)
    assert "checking pictures" in capsys.readouterr().err
    assert Remote(store).stamp("pictures.json")
    monkeypatch.setenv("CIRRAY_HOME", str(tmp_path / "another"))
    assert loaded(data, store) == first
    assert "checking pictures" not in capsys.readouterr().err
    Remote(f"{bucket}/data").put(write_picture(tmp_path / "new.png", 99, (21, 17)), "images/p1.png")
    second = loaded(data, store)
    assert "checking pictures" in capsys.readouterr().err
    assert [name for name in first.contents if first.contents[name] != second.contents[name]] == ["p1"]


def test_changed_annotations_are_fetched_again_and_deleted_ones_are_missed(bucket: str, tmp_path: Path) -> None:
    write_catalog(tmp_path / "data")
    upload(tmp_path / "data", f"{bucket}/data")
    data, remote = Data(format="triplets", root=f"{bucket}/data"), Remote(f"{bucket}/data")
    before = loaded(data, tmp_path / "cache")
    lines = (remote.read("catalog.jsonl") or b"").decode()
    time.sleep(1.1)  # an object store tells times in seconds
    remote.write("catalog.jsonl", lines.replace('"t0"', '"x0"').encode())
    assert loaded(data, tmp_path / "cache").titles == {**before.titles, "p0": "x0"}
    remote.delete("triplets.val.jsonl")
    with pytest.raises(DataError, match=rf"the file is missing \({bucket}/data/triplets\.val\.jsonl\)"):
        loaded(data, tmp_path / "cache")


def test_bad_pictures_are_listed_by_their_addresses(bucket: str, tmp_path: Path) -> None:
    write_catalog(tmp_path / "data")
    (tmp_path / "data" / "images" / "p1.png").write_bytes(b"no picture")
    (tmp_path / "data" / "images" / "p2.png").unlink()
    upload(tmp_path / "data", f"{bucket}/data")
    with pytest.raises(DataError) as caught:
        loaded(Data(format="triplets", root=f"{bucket}/data"), tmp_path / "cache")
    images = f"{bucket}/data/images"
    assert f"catalog.jsonl:2: picture of 'p1': {images}/p1.png: is not a picture" in str(caught.value)
    assert f"catalog.jsonl:3: picture of 'p2': {images}/p2.png: does not exist" in str(caught.value)


def test_nothing_at_a_uri(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(LocationError, match=f"{bucket}/none has no files: check the address"):
        loaded(Data(format="triplets", root=f"{bucket}/none"), tmp_path / "cache")
    with pytest.raises(LocationError, match="no-such-bucket-here"):
        loaded(Data(format="triplets", root="s3://no-such-bucket-here/x"), tmp_path / "cache")
    with pytest.raises(PictureError, match="does not exist"):
        open_rgb(f"{bucket}/none.png", "white")


def test_pixels_are_those_of_the_files(bucket: str, tmp_path: Path) -> None:
    here = write_catalog(tmp_path / "data")
    upload(tmp_path / "data", f"{bucket}/data")
    there = here.model_copy(update={"root": f"{bucket}/data"})
    make, name = lambda: DecodePixels(8, Preprocess()), pixels_fingerprint(8, Preprocess())
    rows = []
    for data, location in ((here, str(tmp_path / "store")), (there, f"{bucket}/store")):
        dataset, store = loaded(data, location), FeatureStore(Location.parse(location), "pixels", name)
        assert fill(store, pictures_of(dataset), make, Embedding(), 1, "pixels", inline=100) == 6
        rows.append(store.read(list(dataset.contents.values())))
    assert torch.equal(*rows)
    assert rows[0].float().std() > 1


CATALOG = [{"id": f"i{n}", "image": f"red & blue/100%20 {n}.png", "colour": "red"} for n in range(3)]


@pytest.fixture
def catalog(bucket: str, tmp_path: Path) -> str:
    """The same catalog in three formats, with pictures whose names URIs would write otherwise."""
    folder = tmp_path / "catalog"
    for number, row in enumerate(CATALOG):
        write_picture(folder / row["image"], number)
    write_lines(folder / "items.jsonl", CATALOG)
    parquet.write_table(pa.Table.from_pylist(CATALOG), folder / "items.parquet")
    lines = ["id,image,colour", *(",".join(row.values()) for row in CATALOG)]
    (folder / "items.csv").write_text("\n".join(lines), encoding="utf-8")
    upload(folder, f"{bucket}/shop")
    return f"{bucket}/shop"


@pytest.mark.parametrize("name", ["items.jsonl", "items.csv", "items.parquet"])
def test_a_catalog_file_at_a_uri(name: str, catalog: str) -> None:
    entries, problems = read(f"{catalog}/{name}")
    assert problems == []
    assert [(entry.id, str(entry.images[0]), entry.attributes) for entry in entries] == [
        (row["id"], f"{catalog}/{row['image']}", {"colour": "red"}) for row in CATALOG
    ]
    sizes = [open_rgb(str(entry.images[0]), "white").size for entry in entries]
    assert sizes == [(12, 9)] * 3


def test_a_catalog_folder_at_a_uri(catalog: str) -> None:
    entries, problems = read(f"{catalog}/")
    assert problems == []
    assert [str(entry.images[0]) for entry in entries] == [f"{catalog}/{row['image']}" for row in CATALOG]
    assert {entry.attributes["folder"] for entry in entries} == {"red & blue"}
    Remote(catalog).write("catalog.jsonl", b'{"id": "only", "image": "red & blue/100%20 1.png"}\n')
    assert [entry.id for entry in read_catalog(catalog).entries] == ["only"]


def test_a_catalog_names_no_picture_elsewhere(catalog: str) -> None:
    lines = [
        f'{{"id": "{n}", "image": "{image}"}}\n'
        for n, image in enumerate(["/etc/passwd", "../x.png", "s3://b/x.png", "file://h/x"])
    ]
    Remote(catalog).write("other.jsonl", "".join(lines).encode())
    entries, problems = read(f"{catalog}/other.jsonl")
    assert [problem.where for problem in problems] == ["other.jsonl:1", "other.jsonl:2"]
    for entry in entries:
        assert str(entry.images[0]).startswith(f"{catalog}/")
        with pytest.raises(PictureError, match="does not exist"):
            open_rgb(str(entry.images[0]), "white")


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("gone.csv", None, "does not exist"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"name,image\n1,2", "has no column id"),
        ("a.jsonl", b"\xff", "not UTF-8"),
        ("a.parquet", b"PAR", "cannot be read as Parquet"),
    ],
)
def test_what_is_wrong_with_a_catalog_names_its_address(
    name: str, content: bytes | None, what: str, catalog: str
) -> None:
    if content is not None:
        Remote(catalog).write(name, content)
    with pytest.raises(DataError, match=what) as caught:
        read_catalog(f"{catalog}/{name}")
    assert str(caught.value).startswith(f"{catalog}/{name}")


def test_a_mirrored_file_is_not_fetched_twice(catalog: str) -> None:
    read_catalog(f"{catalog}/items.jsonl")
    (mirrored,) = Location.parse(catalog).local.rglob("items.jsonl")
    first = mirrored.stat().st_ino
    read_catalog(f"{catalog}/items.jsonl")
    assert mirrored.stat().st_ino == first
    assert np.isclose(mirrored.stat().st_mtime, Remote(catalog).stamps()["items.jsonl"][1] / 1e9)
