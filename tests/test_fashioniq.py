import os
from pathlib import Path

import pytest

from cirray.config.data import Data
from cirray.data.formats import fashioniq
from cirray.data.records import Triplet
from tests.support.data_fixtures import pair, write_fashioniq, write_json, write_picture

REAL = Path(os.environ.get("CIRRAY_TEST_DATA", "/nonexistent")) / "fashioniq"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="CIRRAY_TEST_DATA has no fashioniq folder")


def small(root):
    return write_fashioniq(
        root,
        {
            "dress.val": [pair("a", "b", "is red.", " is long"), pair("c", "a", "", "has Dots.")],
            "shirt.val": [pair("s", "a", "x", "y")],
        },
        {"dress.val": ["z", "a", "b", "c"], "shirt.val": ["a", "s"]},
    )


def test_triplets_keep_their_captions_and_categories(tmp_path):
    annotations = fashioniq.read(small(tmp_path), ["val"])
    assert (annotations.problems, annotations.fatal) == ([], [])
    assert annotations.splits["val"].triplets == (
        Triplet("a", ("is red.", " is long"), "b", "dress"),
        Triplet("c", ("Has dots",), "a", "dress"),
        Triplet("s", ("x", "y"), "a", "shirt"),
    )


def test_the_standard_gallery_is_the_whole_split_file(tmp_path):
    annotations = fashioniq.read(small(tmp_path), ["val"])
    assert annotations.splits["val"].galleries == {"dress": ("z", "a", "b", "c"), "shirt": ("a", "s")}
    assert list(annotations.images) == ["z", "a", "b", "c", "s"]
    assert annotations.image_sources["b"] == "image_splits/split.dress.val.json entry 2"
    assert annotations.protocol.name == "fashioniq (whole split file)"
    assert not annotations.protocol.exclude_reference
    assert annotations.protocol.selection == "mean-r10-r50"


def test_the_val_split_gallery_is_the_union_of_references_and_targets(tmp_path):
    data = small(tmp_path).model_copy(update={"gallery": "val-split"})
    annotations = fashioniq.read(data, ["val"])
    assert annotations.splits["val"].galleries == {"dress": ("a", "b", "c"), "shirt": ("s", "a")}
    assert "z" not in annotations.images
    assert "VAL split" in annotations.protocol.name


def test_pictures_are_found_by_their_suffix_and_missing_ones_are_png(tmp_path):
    data = small(tmp_path)
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpeg", "b.png", "c.JPG", "z.txt"):
        (tmp_path / "images" / name).touch()
    images = fashioniq.read(data, ["val"]).images
    assert {name: path.name for name, path in images.items()} == {
        "a": "a.jpg",
        "b": "b.png",
        "c": "c.JPG",
        "s": "s.png",
        "z": "z.png",
    }
    assert all(path.parent == tmp_path / "images" for path in images.values())


def test_pictures_may_have_any_suffix_and_lie_in_a_folder_of_their_category(tmp_path):
    data = small(tmp_path)
    for name in ("a.webp", "dress/b.jpg", "shirt/s.heic", "dress/c.PNG", "c.avif"):
        write_picture(tmp_path / "images" / f"{name}.png").rename(tmp_path / "images" / name)
    images = fashioniq.read(data, ["val"]).images
    found = {name: path.relative_to(tmp_path / "images").as_posix() for name, path in images.items()}
    assert found == {"z": "z.png", "a": "a.webp", "b": "dress/b.jpg", "c": "c.avif", "s": "shirt/s.heic"}


@pytest.mark.parametrize("broken", [b"", b"<html>404</html>"])
def test_of_several_files_the_first_that_is_a_picture_counts(tmp_path, broken):
    data = small(tmp_path)
    for name in ("a.jpg", "dress/b.webp", "c.png", "c.jpg"):
        write_picture(tmp_path / "images" / f"{name}.png").rename(tmp_path / "images" / name)
    for name in ("a.png", "b.jpg", "s.jpg", "s.png"):
        (tmp_path / "images" / name).write_bytes(broken)
    images = fashioniq.read(data, ["val"]).images
    found = {name: path.relative_to(tmp_path / "images").as_posix() for name, path in images.items()}
    assert found == {"z": "z.png", "a": "a.jpg", "b": "dress/b.webp", "c": "c.png", "s": "s.png"}


def test_a_test_split_has_no_targets_and_keeps_its_whole_gallery(tmp_path):
    data = write_fashioniq(tmp_path, {"dress.test": [pair("a", None, "x", "y")]}, {"dress.test": ["a", "b"]})
    annotations = fashioniq.read(data.model_copy(update={"gallery": "val-split"}), ["test"])
    assert annotations.problems == []
    assert annotations.splits["test"].triplets == (Triplet("a", ("x", "y"), None, "dress"),)
    assert annotations.splits["test"].galleries == {"dress": ("a", "b")}


def test_titles_are_read_when_there_are_any(tmp_path):
    data = small(tmp_path)
    write_json(tmp_path / "titles.json", {"a": " red dress ", "elsewhere": "x", "b": 3})
    annotations = fashioniq.read(data, ["val"])
    assert annotations.titles == {"a": "red dress"}
    assert [str(problem) for problem in annotations.problems] == ["titles.json entry b: a title must be text, not 3"]


def test_every_invalid_record_is_reported_with_its_entry(tmp_path):
    captions = [
        pair("a", "b", "fine", "fine"),
        pair("a", "nowhere", ".", ""),
        {"candidate": "a", "captions": ["x"]},
        {"candidate": 5, "target": "", "captions": "x"},
        [],
        {"candidate": "a", "target": "b", "captions": [1]},
    ]
    data = write_fashioniq(tmp_path, {"dress.train": captions}, {"dress.train": ["a", "b", "a", 7, "../x"]})
    annotations = fashioniq.read(data, ["train"])
    assert len(annotations.splits["train"].triplets) == 1
    split, cap = "image_splits/split.dress.train.json", "captions/cap.dress.train.json"
    assert [str(problem) for problem in annotations.problems] == [
        f"{split} entry 2: image id 'a' appears twice, first at {split} entry 0",
        f"{split} entry 3: an image id must be a non-empty string, not 7",
        f"{split} entry 4: image id '../x' cannot be the name of a file",
        f'{cap} entry 1: target "nowhere" is not in {split}',
        f"{cap} entry 1: all its captions are empty",
        f"{cap} entry 2: target is missing",
        f"{cap} entry 3: candidate must be a non-empty string, not 5",
        f'{cap} entry 3: target must be a non-empty string, not ""',
        f'{cap} entry 3: captions must be a list of strings, not "x"',
        f"{cap} entry 4: must be a JSON object, not []",
        f"{cap} entry 5: captions must be a list of strings, not [1]",
    ]


def test_missing_and_malformed_files_are_fatal(tmp_path):
    data = write_fashioniq(tmp_path, {"dress.train": []}, {})
    (tmp_path / "captions" / "cap.dress.train.json").write_text('[\n{"candidate": "a"},\n{"candidate" "b"}]')
    annotations = fashioniq.read(data, ["train", "val"])
    assert [problem.where for problem in annotations.fatal] == [
        "image_splits/split.dress.train.json",
        "captions/cap.dress.train.json:3",
        "image_splits/split.dress.val.json",
        "captions/cap.dress.val.json",
    ]
    assert "missing" in annotations.fatal[0].what
    assert "not JSON" in annotations.fatal[1].what


COUNTS = {
    "train": {"dress": (5985, 11452), "shirt": (5988, 19036), "toptee": (6027, 16121)},
    "val": {"dress": (2017, 3817), "shirt": (2038, 6346), "toptee": (1961, 5373)},
    "test": {"dress": (2024, 3818), "shirt": (2038, 6346), "toptee": (2056, 5374)},
}


@needs_real
def test_the_real_annotations_are_read_completely():
    annotations = fashioniq.read(Data(format="fashioniq", root=str(REAL)), ["train", "val", "test"])
    assert (annotations.problems, annotations.fatal) == ([], [])
    assert len(annotations.images) == 74_381
    for name, counts in COUNTS.items():
        split = annotations.splits[name]
        found = {
            category: (sum(t.category == category for t in split.triplets), len(split.galleries[category]))
            for category in counts
        }
        assert found == counts
    alone = {name: sum(len(t.captions) == 1 for t in annotations.splits[name].triplets) for name in COUNTS}
    # 15 empty captions in train and val, and one that is just "."
    assert alone == {"train": 13, "val": 3, "test": 1}


@needs_real
def test_the_real_val_split_gallery_is_smaller():
    data = Data(format="fashioniq", root=str(REAL), gallery="val-split")
    annotations = fashioniq.read(data, ["val"])
    split = annotations.splits["val"]
    for category, ids in split.galleries.items():
        named = {i for t in split.triplets if t.category == category for i in (t.reference, t.target)}
        assert set(ids) == named
        assert len(ids) == len(named) < COUNTS["val"][category][1]
