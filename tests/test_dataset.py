import subprocess
import sys
import textwrap

import pytest

from cirray.config.data import Data
from cirray.data.load import load_dataset
from cirray.errors import ConfigError, DataError
from cirray.storage.location import Location
from tests.support.data_fixtures import (
    cirr_record,
    pair,
    triplet,
    write_catalog,
    write_fashioniq,
    write_json,
    write_lines,
    write_picture,
)


def load(data, tmp_path, **options):
    return load_dataset(data, Location.parse(tmp_path / "cache"), "white", **options)


def skipping(data):
    return data.model_copy(update={"skip_bad": True})


def test_a_good_dataset_has_everything(tmp_path):
    dataset = load(write_catalog(tmp_path / "d"), tmp_path)
    assert dataset.name == "triplets"
    assert set(dataset.images) == set(dataset.contents) == set(dataset.titles) == {f"p{i}" for i in range(6)}
    assert list(dataset.splits) == ["train", "val"]
    assert dataset.skipped == ()


def break_some(root):
    """Breaks a record and three pictures of a catalog in different ways."""
    write_lines(root / "triplets.val.jsonl", [triplet("p4", "p5"), triplet("p0", "p2"), "{", triplet("p0", "ghost")])
    (root / "images/p3.png").write_bytes(b"")
    (root / "images/p4.png").unlink()


def test_all_problems_are_reported_together_with_file_and_line(tmp_path):
    data = write_catalog(tmp_path / "d")
    break_some(tmp_path / "d")
    with pytest.raises(DataError) as caught:
        load(data, tmp_path)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(f"4 problems in {data.root}")
    assert "--data.skip-bad" in first
    assert lines == [
        "  triplets.val.jsonl:3: not JSON: Expecting property name enclosed in double quotes at column 2",
        '  triplets.val.jsonl:4: target "ghost" is not in catalog.jsonl',
        f"  catalog.jsonl:4: picture of 'p3': {data.root}/images/p3.png: is empty (0 bytes)",
        f"  catalog.jsonl:5: picture of 'p4': {data.root}/images/p4.png: does not exist",
    ]


def test_skip_bad_leaves_out_what_is_bad_and_what_needs_it(tmp_path):
    data = write_catalog(tmp_path / "d")
    break_some(tmp_path / "d")
    dataset = load(skipping(data), tmp_path)
    good = ("p0", "p1", "p2", "p5")
    assert tuple(dataset.images) == tuple(dataset.contents) == tuple(dataset.titles) == good
    assert [(t.reference, t.target) for t in dataset.splits["train"].triplets] == [("p0", "p1")]
    assert [(t.reference, t.target) for t in dataset.splits["val"].triplets] == [("p0", "p2")]
    assert all(split.galleries == {"all": good} for split in dataset.splits.values())
    assert len(dataset.skipped) == 6
    assert [str(problem) for problem in dataset.skipped[-2:]] == [
        "split train: left out 2 triplets that need a broken picture",
        "split val: left out 1 triplets that need a broken picture",
    ]


def test_skip_bad_does_not_make_up_for_missing_files(tmp_path):
    data = write_catalog(tmp_path / "d")
    (tmp_path / "d/triplets.val.jsonl").unlink()
    (tmp_path / "d/images/p3.png").unlink()
    with pytest.raises(DataError, match=r"triplets\.val\.jsonl: the file is missing"):
        load(skipping(data), tmp_path)


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_split_without_triplets_is_refused(tmp_path, skip_bad):
    data = write_catalog(tmp_path / "d")
    write_lines(tmp_path / "d/triplets.val.jsonl", [])
    with pytest.raises(DataError, match="split val: has no usable triplets"):
        load(data.model_copy(update={"skip_bad": skip_bad}), tmp_path)


def test_a_category_without_triplets_left_is_named(tmp_path):
    data = write_fashioniq(
        tmp_path / "d",
        {"dress.val": [pair("a", "b", "x", "y")], "shirt.val": [pair("c", "b", "x", "y")]},
        {"dress.val": ["a", "b"], "shirt.val": ["b", "c"]},
        ["a.png", "b.jpg"],
    )
    with pytest.raises(DataError, match=r"no usable triplets of category shirt[\s\S]*c\.png: does not exist"):
        load(skipping(data), tmp_path, splits=("val",))


def test_bad_pictures_leave_cirr_subsets(tmp_path):
    root, members = tmp_path / "d", [f"m{i}" for i in range(6)]
    write_json(root / "captions/cap.rc2.val.json", [cirr_record(1, "m0", "m1", members)])
    write_json(root / "image_splits/split.rc2.val.json", {m: f"./dev/{m}.png" for m in members})
    for seed, member in enumerate(members[:-1]):
        write_picture(root / f"dev/{member}.png", seed)
    dataset = load(Data(format="cirr", root=str(root), skip_bad=True), tmp_path, splits=("val",))
    assert dataset.splits["val"].triplets[0].subset == ("m1", "m2", "m3", "m4")
    assert dataset.splits["val"].galleries["all"] == ("m0", "m1", "m2", "m3", "m4")
    assert str(dataset.skipped[0]).startswith("image_splits/split.rc2.val.json entry m5: ")


def test_a_long_list_is_truncated_with_a_count(tmp_path):
    data = write_catalog(tmp_path / "d")
    write_lines(tmp_path / "d/triplets.val.jsonl", ["{"] * 250)
    with pytest.raises(DataError) as caught:
        load(data, tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 202
    assert lines[-1] == "  and 50 more"


@pytest.mark.parametrize("root", ["", "{tmp}/nowhere", "{tmp}/file"])
def test_a_missing_root_names_the_setting_and_the_expected_files(tmp_path, root):
    (tmp_path / "file").touch()
    data = Data(format="triplets", root=root.format(tmp=tmp_path))
    with pytest.raises(ConfigError, match=r"data\.root .*catalog\.jsonl"):
        load(data, tmp_path)


def test_the_data_package_loads_neither_torch_nor_ray():
    code = """
        import sys, cirray.data
        heavy = {"torch", "torchvision", "open_clip", "ray"} & set(sys.modules)
        sys.exit(f"imported {heavy}" if heavy else 0)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


@pytest.mark.parametrize(
    ("broken", "splits", "label"),
    [
        ((), ("train", "val"), ""),
        (("v7",), ("train", "val"), ", 7 of 8 images"),
        (("t1", "t2"), ("train", "val"), ""),
        (("t1", "v7"), ("val",), ", 7 of 8 images"),
        (("t1", "t2"), ("train",), ", 6 of 8 images"),
    ],
)
def test_the_protocol_says_how_many_images_are_ranked(tmp_path, broken, splits, label):
    ids = {split: [f"{split[0]}{i}" for i in range(8)] for split in ("train", "val")}
    captions = {f"dress.{split}": [pair(names[0], names[3], "x", "y")] for split, names in ids.items()}
    pictures = [f"{name}.png" for names in ids.values() for name in names]
    data = write_fashioniq(tmp_path, captions, {f"dress.{split}": names for split, names in ids.items()}, pictures)
    for name in broken:
        (tmp_path / "images" / f"{name}.png").write_bytes(b"")
    dataset = load(data.model_copy(update={"skip_bad": True}), tmp_path, splits=splits)
    assert dataset.protocol.name == f"fashioniq (whole split file){label}"


def test_broken_pictures_are_no_answers(tmp_path):
    data = skipping(write_catalog(tmp_path / "d"))
    answers = {"positives": ["p3", "p5"], "hard_negatives": ["p2", "p4", "p0"]}
    write_lines(tmp_path / "d/triplets.val.jsonl", [{**triplet("p1", "p5"), **answers}])
    for name in ("p2", "p3"):
        (tmp_path / f"d/images/{name}.png").write_bytes(b"")
    (found,) = load(data, tmp_path).splits["val"].triplets
    assert (found.positives, found.hard_negatives) == (("p5",), ("p4", "p0"))
