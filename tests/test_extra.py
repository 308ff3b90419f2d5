"""`data.extra`: more train triplets beside those of `data.root`."""

import pytest

from cirray.config.data import Data
from cirray.config.recipe import load_recipe
from cirray.config.training import TrainConfig
from cirray.data.extra import add_triplets
from cirray.data.load import load_dataset
from cirray.data.records import Triplet
from cirray.data.table import build_table
from cirray.errors import DataError
from cirray.storage.location import Location
from cirray.training.preparation import read_data
from tests.support.data_fixtures import pair, triplet, write_catalog, write_fashioniq, write_lines, write_picture


def load(data, tmp_path, splits=("train", "val")):
    return load_dataset(data, Location.parse(tmp_path / "store"), "white", splits)


def extra_of(root, items, triplets, tmp_path):
    """Writes more triplets; `items` maps an id to the seed of its picture."""
    for name, seed in items.items():
        write_picture(root / "images" / f"{name}.png", seed)
    write_lines(root / "catalog.jsonl", [{"id": name, "image": f"images/{name}.png", "title": "T"} for name in items])
    write_lines(root / "triplets.train.jsonl", triplets)
    return load(Data(format="triplets", root=str(root)), tmp_path, ("train",))


def test_train_gets_the_triplets_images_and_titles_and_val_stays(tmp_path):
    dataset = load(write_catalog(tmp_path / "a"), tmp_path)
    extra = extra_of(tmp_path / "b", {"p1": 1, "p3": 3, "x": 50}, [triplet("p1", "p3"), triplet("x", "p1")], tmp_path)
    both = add_triplets(dataset, extra, "b")
    assert both.splits["train"].triplets == (*dataset.splits["train"].triplets, *extra.splits["train"].triplets)
    assert both.splits["val"] == dataset.splits["val"]
    assert list(both.images) == [*dataset.images, "x"]
    assert (both.titles["p1"], both.titles["x"]) == ("t1", "T")
    assert both.images["p1"] == dataset.images["p1"]
    assert both.skipped == ()
    table = build_table(both, "train")
    assert len(table) == 5
    assert len(both.images) - 1 in table.gallery


def test_triplets_that_use_images_of_val_are_left_out_and_counted(tmp_path):
    dataset = load(write_catalog(tmp_path / "a"), tmp_path)  # val: p4 -> p5, p0 -> p2
    wanted = [triplet("p1", "p3"), triplet("p1", "p5"), triplet("p4", "p1"), triplet("p2", "p3")]
    extra = extra_of(tmp_path / "b", {f"p{i}": i for i in range(6)}, wanted, tmp_path)
    both = add_triplets(dataset, extra, "b")
    assert [(t.reference, t.target) for t in both.splits["train"].triplets[3:]] == [("p1", "p3")]
    assert [str(problem) for problem in both.skipped] == ["b: left out 3 of 4 triplets, which use images of val"]


def test_images_of_a_gallery_of_val_are_no_training_images(tmp_path):
    data = write_fashioniq(
        tmp_path / "f",
        {"dress.train": [pair("a", "b", "x", "y")], "dress.val": [pair("c", "d", "x", "y")]},
        {"dress.train": ["a", "b"], "dress.val": ["c", "d", "e"]},
        ("a.png", "b.png", "c.png", "d.png", "e.png"),
    )
    dataset = load(data, tmp_path)
    seeds = {name: seed for seed, name in enumerate("abcde")}
    extra = extra_of(tmp_path / "b", {**seeds, "new": 9}, [triplet("e", "a"), triplet("b", "new")], tmp_path)
    both = add_triplets(dataset, extra, "b")
    assert [(t.reference, t.target) for t in both.splits["train"].triplets] == [("a", "b"), ("b", "new")]
    assert both.splits["train"].galleries == {"dress": ("a", "b"), "all": ("a", "b", "new")}
    assert list(build_table(both, "train").gallery) == [0, 1, 5]


def test_an_id_of_another_picture_is_refused(tmp_path):
    dataset = load(write_catalog(tmp_path / "a"), tmp_path)
    extra = extra_of(tmp_path / "b", {"p1": 1, "p3": 99}, [triplet("p1", "p3")], tmp_path)
    with pytest.raises(DataError, match=r"in b .*\n  id 'p3': is .*b/images/p3.png here and .*a/images/p3.png"):
        add_triplets(dataset, extra, "b")


def test_a_training_reads_it_after_triplets_are_held_out(tmp_path):
    root = write_catalog(tmp_path / "a").root
    pairs = [triplet("x", f"p{i}") for i in range(6)]
    extra_of(tmp_path / "b", {**{f"p{i}": i for i in range(6)}, "x": 50}, pairs, tmp_path)
    settings = {"data.root": root, "data.extra": [str(tmp_path / "b")], "store": str(tmp_path / "store")}
    held = read_data(load_recipe(TrainConfig, "default", {**settings, "data.holdout": 0.3}))
    scored = {
        image for name in ("selection", "val") for t in held.splits[name].triplets for image in (t.reference, t.target)
    }
    added = {t.target for t in held.splits["train"].triplets if t.reference == "x"}
    assert len(held.splits["selection"].triplets) == 1
    assert added == {f"p{i}" for i in range(6)} - scored
    assert added


def test_a_folder_without_a_catalog_uses_the_images_of_the_dataset(tmp_path):
    root = write_catalog(tmp_path / "a").root
    write_lines(tmp_path / "b" / "triplets.train.jsonl", [triplet("p1", "p3", "redder")])
    settings = {"data.root": root, "data.extra": [str(tmp_path / "b")], "store": str(tmp_path / "store")}
    read = read_data(load_recipe(TrainConfig, "default", settings))
    assert read.splits["train"].triplets[3:] == (Triplet("p1", ("redder",), "p3"),)
    assert len(read.images) == 6


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, r"b .*\n  triplets.train.jsonl: the file is missing"),
        ([triplet("p1", "nobody")], r"b .*\n  triplets.train.jsonl:1: target \"nobody\" is not in data.root"),
    ],
)
def test_problems_are_named_with_file_and_line(tmp_path, lines, message):
    root = write_catalog(tmp_path / "a").root
    (tmp_path / "b").mkdir()
    if lines:
        write_lines(tmp_path / "b" / "triplets.train.jsonl", lines)
    settings = {"data.root": root, "data.extra": [str(tmp_path / "b")], "store": str(tmp_path / "store")}
    with pytest.raises(DataError, match=message):
        read_data(load_recipe(TrainConfig, "default", settings))
