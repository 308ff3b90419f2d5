"""Triplets of a catalog as a whole: captions against an oracle, splits, selected items, files, and the job."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cirray.config.data import Data
from cirray.config.triplets import TripletsConfig, TripletSettings
from cirray.data.catalog import Entry, read_catalog
from cirray.data.load import load_dataset
from cirray.data.made_triplets.make import make_triplets
from cirray.data.made_triplets.pair import TITLE, Pair
from cirray.data.made_triplets.splits import MadeTriplets, make_splits, split_of
from cirray.errors import ConfigError, DataError
from cirray.storage.location import Location
from tests.support.data_fixtures import write_lines, write_picture
from tests.support.made_items import all_differ, garments, item

VALUES = {"hue": ["crimson", "azure", "olive"], "girth": ["tiny", "huge", "none"]}
ITEMS = st.lists(
    st.fixed_dictionaries(
        {
            "hue": st.sampled_from(VALUES["hue"]),
            "girth": st.sampled_from(VALUES["girth"]),
            "zip": st.booleans(),
            "price": st.sampled_from([1.5, 2.5, 3.5, 4.5]),
        }
    ),
    min_size=12,
    max_size=30,
)


def splits(entries: list[Entry], **options: Any) -> MadeTriplets:
    return make_splits(entries, TripletSettings(**options), 0, all_differ)


def named_in(caption: str) -> set[str]:
    """The attributes that a caption names, by their names and values."""
    words = set(re.findall(r"\w+", caption))
    found = {name for name, values in VALUES.items() if words & {name, *values}}
    return found | ({"zip"} & words) | ({"price"} if words & {"cheaper", "expensive", "price"} else set())


def is_true(caption: str, pair: Pair) -> bool:
    """Whether a caption tells the target's values."""
    target = pair.target.attributes
    named = named_in(caption)
    told = [str(target[name]) in caption or target[name] == "none" for name in VALUES if name in named]
    if "zip" in named:
        told.append(bool(re.search(r"\b(without|no|remove the) zip", caption)) != target["zip"])
    if "girth" in named and target["girth"] == "none":
        told.append(bool(re.search(r"\b(without|no|remove the) girth", caption)))
    if "price" in named:
        is_cheaper = "cheaper" in caption or "lower price" in caption
        told.append(is_cheaper == (float(str(target["price"])) < float(str(pair.reference.attributes["price"]))))
    return all(told)


def price_range(price: Any, members: list[Entry]) -> int:
    prices = sorted(float(str(entry.attributes["price"])) for entry in members)
    return sum(price >= prices[len(prices) * step // 5] for step in range(1, 5))


def test_captions_name_exactly_the_attributes_that_differ() -> None:
    made_of = []

    @settings(deadline=None, max_examples=100)
    @given(ITEMS, st.integers(2, 12))
    def check(items: list[dict[str, Any]], products: int) -> None:
        entries = [item(n, group=f"p{n % products}", **attributes) for n, attributes in enumerate(items)]
        try:
            made = splits(entries, count=40, val_share=0.4)
        except DataError:
            return
        made_of.append(len(entries))
        groups = {
            name: {entry.group for pair in pairs for entry in (pair.reference, pair.target)}
            for name, pairs in made.splits.items()
        }
        assert not groups["train"] & groups["val"]
        members = {name: [one for one in entries if split_of(one, 0.4) == name] for name in made.splits}
        for name, pairs in made.splits.items():
            assert len({(pair.reference.id, pair.target.id) for pair in pairs}) == len(pairs)
            for pair, captions in zip(pairs, made.captions[name], strict=True):
                assert pair.reference.id != pair.target.id and captions
                old, new = pair.reference.attributes, pair.target.attributes
                differ = {attribute for attribute in ("hue", "girth", "zip") if old[attribute] != new[attribute]}
                differ -= set(made.left_out)
                changed = {change.attribute for change in pair.changes}
                ranges = {price_range(values["price"], members[name]) for values in (old, new)}
                differ |= {"price"} - set(made.left_out) if len(ranges) == 2 else set()
                assert changed == differ and 1 <= len(changed) <= 3
                for caption in captions:
                    assert named_in(caption) == changed, (caption, pair)
                    assert is_true(caption, pair), (caption, pair)

    check()
    assert len(made_of) > 20, "most catalogs were too small to make triplets"


def test_variants_of_a_product_are_in_one_split_also_by_titles() -> None:
    looks = [f"{size} {colour}" for size in ("big", "small") for colour in ("red", "blue", "green")]
    entries = [item(n, f"bag n{n // 6} {looks[n % 6]}", group=f"p{n // 6}") for n in range(120)]
    made = splits(entries, count=200, val_share=0.3)
    found = {
        name: {entry.group for pair in pairs for entry in (pair.reference, pair.target)}
        for name, pairs in made.splits.items()
    }
    assert found["train"] and found["val"] and not found["train"] & found["val"]
    assert set(made.changes()) == {"title"}


def test_attributes_and_titles_are_both_used() -> None:
    entries = [
        item(int(one.id[1:]), "{colour} bag, {sleeve} strap".format(**one.attributes), **one.attributes)
        for one in garments(120)
    ]
    made = splits(entries, count=400)
    assert set(made.changes()) == {"colour", "sleeve", "logo", "title"}
    assert 0.1 < sum(pair.changes[0].in_title for pair in made.splits["train"]) / 400 < 0.4
    without = splits(entries, count=400, exclude=("title",))
    assert set(without.changes()) == {"colour", "sleeve", "logo"} and without.left_out["title"] == "excluded"


def test_val_captions_are_no_titles() -> None:
    entries = [item(int(one.id[1:]), f"Title of {one.id}", **one.attributes) for one in garments(300)]
    made = splits(entries, count=1000, val_share=0.4)
    assert TITLE not in made.changes()

    def count(made: MadeTriplets, split: str) -> int:
        return sum("Title" in caption for captions in made.captions[split] for caption in captions)

    assert count(made, "train") > 20 and count(made, "val") == 0
    assert count(splits(entries, count=1000, val_share=0.4, exclude=(TITLE,)), "train") == 0


class TestWhere:
    """`triplets.where`: triplets of some items."""

    def entries(self) -> list[Entry]:
        return [
            item(
                int(one.id[1:]),
                **one.attributes,
                split=("train", "val")[n % 2],
                price=float(n % 4),
                tags=["a", f"t{n % 3}"],
            )
            for n, one in enumerate(garments(160))
        ]

    @pytest.mark.parametrize(
        ("where", "rows"),
        [
            ("{split: train}", lambda n: n % 2 == 0),
            ("{tags: t1}", lambda n: n % 3 == 1),
            ("{price: 2}", lambda n: n % 4 == 2),
            ({"price": 2, "split": "train"}, lambda n: n % 4 == 2),
            ("{logo: true}", None),
        ],
    )
    def test_only_matching_items_are_in_triplets(self, where: Any, rows: Any) -> None:
        entries = self.entries()
        made = splits(entries, count=60, val_share=0.4, where=where)
        wanted = {e.id for n, e in enumerate(entries) if (rows(n) if rows else e.attributes["logo"])}
        found = {e.id for pairs in made.splits.values() for pair in pairs for e in (pair.reference, pair.target)}
        assert found and found <= wanted
        (name,) = list(TripletSettings(where=where).where)[:1]
        assert name not in made.changes() and made.left_out[name] == "used by triplets.where"

    def test_an_unknown_attribute_names_the_nearest(self) -> None:
        with pytest.raises(
            ConfigError, match=r"no item has an attribute 'colr'\. Did you mean 'colour'\? There are: co"
        ):
            splits(self.entries(), where={"colr": "red"})

    def test_an_unknown_value_names_the_nearest(self) -> None:
        message = r"no item has colour 'gren'\. Did you mean 'green'\? There are: blue, green, red, white"
        with pytest.raises(ConfigError, match=message):
            splits(self.entries(), where={"colour": "gren"})

    def test_conditions_that_exclude_each_other(self) -> None:
        entries = [item(n, colour="ab"[n % 2], sleeve="xy"[n % 2]) for n in range(10)]
        with pytest.raises(ConfigError, match="no item has colour 'a' and sleeve 'y' together"):
            splits(entries, where={"colour": "a", "sleeve": "y"})

    def test_codes_on_the_command_line_stay_texts(self) -> None:
        assert TripletSettings(where="{code: 0012, sold: true}").where == {"code": "0012", "sold": "true"}


def test_an_unknown_excluded_attribute_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"triplets.exclude: no item has an attribute 'color'.*'colour'"):
        splits(garments(20), exclude=("color",))


def test_a_catalog_without_usable_attributes_and_titles_is_an_error() -> None:
    entries = [item(n, f"Thing{n}", sku=f"{n}", category="ab"[n % 2]) for n in range(20)]
    message = (
        "neither attributes nor titles.*\n  sku: its name.*\n  category: a pair must.*\n  title: no words occur in 3"
    )
    with pytest.raises(DataError, match=message):
        splits(entries)


def test_a_catalog_with_neither_attributes_nor_titles_is_an_error() -> None:
    with pytest.raises(DataError, match=r"can be used\n  title: no item has one\ngive items two attributes"):
        splits([item(n) for n in range(20)])


def test_a_split_without_pairs_is_an_error() -> None:
    with pytest.raises(DataError, match=r"no two of the \d items of the val split differ in one to three of colour"):
        splits(garments(20), val_share=0.01)


def write_feed(folder: Path, entries: list[Entry]) -> Path:
    for number, one in enumerate(entries):
        write_picture(folder / str(one.images[0]), number)
    lines = [
        {"id": one.id, "image": str(one.images[0]), "title": one.title, "group": one.group, **one.attributes}
        for one in entries
    ]
    return write_lines(folder / "feed.jsonl", lines)


def test_the_folder_is_a_dataset_with_all_items(tmp_path: Path) -> None:
    entries = [
        item(n, f"Item {n}", Path(), f"p{n}", **one.attributes, split=["train", "val"][n % 2])
        for n, one in enumerate(garments(160))
    ]
    feed = write_feed(tmp_path / "feed", entries)
    config = TripletsConfig(triplets=TripletSettings(count=300, val_share=0.3, where={"split": "train"}))
    made = make_triplets(str(feed), tmp_path / "data", config)
    data = Data(format="triplets", root=str(tmp_path / "data"))
    dataset = load_dataset(data, Location.parse(tmp_path / "store"), "white")
    assert len(dataset.splits["train"].triplets) == len(made.splits["train"]) == 300
    gallery = dataset.splits["val"].galleries["all"]
    assert len(gallery) == 160 and dataset.titles["i159"] == "Item 159"
    again = read_catalog(tmp_path / "data").entries
    assert [(one.id, one.group, one.attributes) for one in again] == [
        (one.id, one.group, one.attributes) for one in entries
    ]
    repeated = make_triplets(str(feed), tmp_path / "again", config)
    assert repeated.captions == made.captions, "the same seed makes the same triplets"


def test_items_without_a_title_get_their_attributes_as_title(tmp_path: Path) -> None:
    path = ["Clothes > Hats", "Clothes > Bags"]
    entries = [item(n, "", Path(), category=path[n % 2], **one.attributes) for n, one in enumerate(garments(60))]
    config = TripletsConfig(triplets=TripletSettings(count=50, val_share=0.3))
    make_triplets(str(write_feed(tmp_path / "feed", entries)), tmp_path / "data", config)
    first, one = read_catalog(tmp_path / "data").entries[0], entries[0].attributes
    assert first.title == f"Hats, {one['colour']}, {one['sleeve']}"


def test_equal_pictures_make_no_pair(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    entries = [item(n, "", Path(), f"p{n // 4}", **one.attributes) for n, one in enumerate(garments(80))]
    feed = write_feed(tmp_path / "feed", entries)
    for number in range(80):  # the items of a product share a picture, half of them as a copy
        write_picture(tmp_path / "feed" / f"{number}.png", number // 4)
    made = make_triplets(str(feed), tmp_path / "data", TripletsConfig(triplets=TripletSettings(val_share=0.4)))
    pairs = [pair for name in made.splits for pair in made.splits[name]]
    assert pairs and all(pair.reference.group != pair.target.group for pair in pairs)
    assert made.identical > 5
    assert f"{made.identical} pairs were left out, as their pictures are nearly identical" in capfd.readouterr().err


def test_items_without_a_readable_picture_are_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    feed = write_feed(tmp_path / "feed", [item(n, "", Path(), **one.attributes) for n, one in enumerate(garments(80))])
    (tmp_path / "feed" / "7.png").write_bytes(b"broken")
    make_triplets(str(feed), tmp_path / "data", TripletsConfig(triplets=TripletSettings(count=50, val_share=0.4)))
    assert len((tmp_path / "data" / "catalog.jsonl").read_text().splitlines()) == 79
    assert re.search(r"1 of 80 items .* are left out.*\n  feed\.jsonl:8: .*7\.png: is not a", capfd.readouterr().err)
    for one in (tmp_path / "feed").glob("*.png"):
        one.unlink()
    with pytest.raises(DataError, match="80 of 80 items"):
        make_triplets(str(feed), tmp_path / "other", TripletsConfig())
    assert not (tmp_path / "other").exists()


def test_the_job(tmp_path: Path) -> None:
    entries = [
        item(n, f"Bag {n}", Path(), **one.attributes, made_for=["men", "women"][n % 2])
        for n, one in enumerate(garments(80))
    ]
    feed = write_feed(tmp_path / "feed", entries)
    command = [sys.executable, "jobs/triplets.py", "--catalog", str(feed), "--count", "50"]
    command += ["--output", str(tmp_path / "data"), "--triplets.val-share", "0.4"]
    done = subprocess.run(
        [*command, "--triplets.where", "{made_for: men}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    *examples, result = done.stdout.splitlines()
    assert len(examples) == 20 and all(re.match(r"i\d+ \(Bag \d+\) -> i\d+ \(Bag \d+\): ", one) for one in examples)
    assert json.loads(result)["triplets"]["train"] == 50
    assert json.loads(result)["left_out"]["made_for"] == "used by triplets.where"
    lines = (tmp_path / "data" / "triplets.train.jsonl").read_text().splitlines()
    assert all(int(json.loads(line)[key][1:]) % 2 == 0 for line in lines for key in ("reference", "target"))
    failed = subprocess.run(
        [*command, "--triplets.where", "{made_for: man}"], capture_output=True, text=True, timeout=120
    )
    assert failed.returncode == 2 and "Did you mean 'men'?" in failed.stderr
