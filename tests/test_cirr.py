import os
from pathlib import Path

import pytest

from cirray.config.data import Data
from cirray.data.formats import cirr
from cirray.data.records import Triplet
from tests.support.data_fixtures import cirr_record, write_json, write_picture

REAL = Path(os.environ.get("CIRRAY_TEST_DATA", "/nonexistent")) / "cirr"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="CIRRAY_TEST_DATA has no cirr folder")
MEMBERS = ["m0", "m1", "m2", "m3", "m4", "m5"]
SPLIT, CAP = "image_splits/split.rc2.val.json", "captions/cap.rc2.val.json"


def write(root, records, split="val", pictures=None):
    write_json(root / f"captions/cap.rc2.{split}.json", records)
    write_json(
        root / f"image_splits/split.rc2.{split}.json",
        pictures or {m: f"./dev/{m}.png" for m in ["z", *MEMBERS]},
    )
    return Data(format="cirr", root=str(root))


@pytest.mark.parametrize("folder", ["", "cirr"])
def test_triplets_have_their_pair_and_the_rest_of_their_image_set(tmp_path, folder):
    write(tmp_path / folder, [cirr_record(12, "m1", "m3", MEMBERS)])
    annotations = cirr.read(Data(format="cirr", root=str(tmp_path)), ["val"])
    assert (annotations.problems, annotations.fatal) == ([], [])
    assert annotations.splits["val"].triplets == (
        Triplet("m1", ("Two of them.",), "m3", pair_id="12", subset=("m0", "m2", "m3", "m4", "m5")),
    )
    assert annotations.splits["val"].galleries == {"all": ("z", *MEMBERS)}
    assert annotations.image_sources["m0"].endswith("image_splits/split.rc2.val.json entry m0")


@pytest.mark.parametrize(("selection", "expected"), [("default", "headline"), ("geometric", "geometric")])
def test_the_protocol_removes_the_reference(tmp_path, selection, expected):
    data = write(tmp_path, []).model_copy(update={"selection": selection})
    protocol = cirr.read(data, ["val"]).protocol
    assert protocol.exclude_reference
    assert (protocol.ks, protocol.subset_ks, protocol.selection) == ((1, 5, 10, 50), (1, 2, 3), expected)


@pytest.mark.parametrize("folder", ["", "img_raw", "images"])
def test_pictures_are_found_in_each_known_folder(tmp_path, folder):
    expected = write_picture(tmp_path / folder / "dev" / "m0.png")
    assert cirr.read(write(tmp_path, []), ["val"]).images["m0"] == expected


@pytest.mark.parametrize("folder", ["", "img_raw"])
def test_the_train_pictures_may_lie_right_in_their_folder(tmp_path, folder):
    listed = {"a": "./train/34/a.png", "b": "./train/35/b.png", "c": "./train/36/c.png"}
    flat = write_picture(tmp_path / folder / "train" / "a.png")
    nested = write_picture(tmp_path / folder / "train" / "35" / "b.png")
    write_picture(tmp_path / folder / "train" / "b.png")
    images = cirr.read(write(tmp_path, [], "train", listed), ["train"]).images
    assert images == {"a": flat, "b": nested, "c": tmp_path / folder / "train" / "36" / "c.png"}


def test_pictures_that_are_nowhere_are_expected_under_the_root(tmp_path):
    assert cirr.read(write(tmp_path, []), ["val"]).images["m0"] == tmp_path / "dev" / "m0.png"


def test_the_test_split_is_test1_without_targets_and_keeps_an_empty_caption(tmp_path):
    empty = {**cirr_record(2, "m1", None, MEMBERS), "caption": " "}
    data = write(tmp_path, [cirr_record(1, "m0", None, MEMBERS), empty], "test1")
    annotations = cirr.read(data, ["test"])
    assert annotations.problems == []
    assert [(t.pair_id, t.target, t.captions) for t in annotations.splits["test"].triplets] == [
        ("1", None, ("Two of them.",)),
        ("2", None, ("",)),
    ]


def test_every_invalid_record_is_reported_with_its_entry(tmp_path):
    good = cirr_record(1, "m0", "m1", MEMBERS)
    records = [
        good,
        good,
        {**cirr_record(2, "x", "y", MEMBERS), "caption": " "},
        {"pairid": True},
        cirr_record(4, "m0", "m0", MEMBERS),
        cirr_record(5, "m0", "z", MEMBERS),
        cirr_record(6, "m0", "m1", ["m0", "m1", "q"]),
        {**cirr_record(7, "m0", "m1", MEMBERS), "img_set": []},
    ]
    pictures = {m: f"./dev/{m}.png" for m in ["z", *MEMBERS]}
    data = write(tmp_path, records, pictures={**pictures, "up": "../up.png", "root": "/x.png", "": "a", "n": 1})
    annotations = cirr.read(data, ["val"])
    assert len(annotations.splits["val"].triplets) == 1
    assert [str(problem) for problem in annotations.problems] == [
        f"{SPLIT} entry up: the path '../up.png' leads out of the data folder",
        f"{SPLIT} entry root: the path '/x.png' leads out of the data folder",
        f"{SPLIT} entry : an image id must not be empty",
        f"{SPLIT} entry n: the path of a picture must be a non-empty string, not 1",
        f"{CAP} entry 1: pairid 1 appears twice, first at {CAP} entry 0",
        f'{CAP} entry 2: reference "x" is not in {SPLIT}',
        f'{CAP} entry 2: target_hard "y" is not in {SPLIT}',
        f'{CAP} entry 2: caption must be a non-empty string, not " "',
        f"{CAP} entry 3: pairid must be a number or a non-empty string, not True",
        f"{CAP} entry 3: reference is missing",
        f"{CAP} entry 3: target_hard is missing",
        f"{CAP} entry 3: caption is missing",
        f"{CAP} entry 3: img_set is missing",
        f"{CAP} entry 4: target_hard is the reference itself, 'm0'",
        f"{CAP} entry 5: target_hard 'z' is not a member of its img_set",
        f"{CAP} entry 6: img_set member 'q' is not in {SPLIT}",
        f"{CAP} entry 7: img_set must be an object, not []",
    ]


def test_an_image_that_is_listed_twice_is_reported(tmp_path):
    data = write(tmp_path, [])
    (tmp_path / SPLIT).write_text('{"a": "./dev/a.png", "a": "./dev/b.png"}')
    annotations = cirr.read(data, ["val"])
    assert [str(problem) for problem in annotations.problems] == [f"{SPLIT} entry a: appears twice"]
    assert annotations.images["a"].name == "a.png"


def test_missing_files_are_fatal(tmp_path):
    annotations = cirr.read(Data(format="cirr", root=str(tmp_path)), ["train", "test"])
    assert [problem.where for problem in annotations.fatal] == [
        "image_splits/split.rc2.train.json",
        "captions/cap.rc2.train.json",
        "image_splits/split.rc2.test1.json",
        "captions/cap.rc2.test1.json",
    ]


@needs_real
def test_the_real_annotations_are_read_completely():
    annotations = cirr.read(Data(format="cirr", root=str(REAL)), ["val", "test"])
    assert (annotations.problems, annotations.fatal) == ([], [])
    for name, images, triplets in (("val", 2297, 4181), ("test", 2315, 4148)):
        split = annotations.splits[name]
        assert (len(split.galleries["all"]), len(split.triplets)) == (images, triplets)
        assert all(len(t.subset) == 5 and t.reference not in t.subset for t in split.triplets)
        assert len({t.pair_id for t in split.triplets}) == triplets
    assert all(t.target in t.subset for t in annotations.splits["val"].triplets)
    assert [t.pair_id for t in annotations.splits["test"].triplets if t.captions == ("",)] == ["27098"]


@needs_real
def test_the_real_train_images_are_read_completely():
    annotations = cirr.read(Data(format="cirr", root=str(REAL)), ["train"])
    assert len(annotations.splits["train"].galleries["all"]) == 16_939
