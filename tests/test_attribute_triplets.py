"""Triplets from a catalog's attributes: pairs against a slow oracle, captions, splits, and the data format."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cirray.config.data import Data
from cirray.data.attribute_triplets.captions import captions_of
from cirray.data.attribute_triplets.pairs import Pair, draw_pairs
from cirray.data.attribute_triplets.usable import usable_attributes
from cirray.data.attribute_triplets.write import write_triplets
from cirray.data.catalog import Entry
from cirray.data.load import load_dataset
from cirray.errors import DataError
from cirray.storage.location import Location
from tests.support.data_fixtures import write_picture

NAMES = ("colour", "sleeve", "logo")


def entry(number: int, folder: Path = Path("/pictures"), group: str = "", **attributes: Any) -> Entry:
    return Entry(f"i{number}", (folder / f"{number}.png",), f"Item {number}", attributes, f"line {number}", group)


def garments(count: int, folder: Path = Path("/pictures"), seed: int = 0) -> list[Entry]:
    chance = random.Random(seed)
    colours, sleeves = ["red", "blue", "green", "white"], ["short", "long", "none"]
    return [
        entry(n, folder, colour=chance.choice(colours), sleeve=chance.choice(sleeves), logo=chance.random() < 0.5)
        for n in range(count)
    ]


def differing(one: Entry, other: Entry) -> set[str]:
    return {name for name in NAMES if one.attributes.get(name) != other.attributes.get(name)}


ITEMS = st.lists(
    st.fixed_dictionaries(
        {}, optional={"colour": st.sampled_from("abc"), "sleeve": st.sampled_from("xy"), "logo": st.booleans()}
    ),
    min_size=2,
    max_size=8,
)


@settings(deadline=None)
@given(ITEMS)
def test_pairs_are_those_that_an_oracle_finds(items: list[dict[str, Any]]) -> None:
    entries = [entry(n, **attributes) for n, attributes in enumerate(items)]
    expected = {
        (one.id, other.id)
        for one, other in permutations(entries, 2)
        if 1 <= len(changed := differing(one, other)) <= 3
        and all(name in one.attributes and name in other.attributes for name in changed)
    }
    found = draw_pairs(entries, NAMES, 1000, seed=1)
    assert {(pair.reference.id, pair.target.id) for pair in found} == expected
    assert all(set(pair.differing) == differing(pair.reference, pair.target) for pair in found)


def test_rare_values_are_drawn_as_often_as_frequent_ones() -> None:
    entries = [entry(n, colour="red" if n % 50 else "blue", sleeve="short") for n in range(1000)]
    entries += [entry(1000 + n, colour="green", sleeve="short") for n in range(20)]
    targets = Counter(pair.target.attributes["colour"] for pair in draw_pairs(entries, ("colour", "sleeve"), 3000, 0))
    assert min(targets.values()) > 700, targets


def test_numbers_agree_in_ranges_and_differ_as_more_or_less() -> None:
    entries = [entry(n, price=float(n), colour="red" if n % 2 else "blue") for n in range(100)]
    pairs = draw_pairs(entries, ("price", "colour"), 500, seed=0)
    alone = [pair for pair in pairs if pair.differing == ("price",)]
    assert alone
    for pair in alone:
        cheaper = pair.target.attributes["price"] < pair.reference.attributes["price"]
        (text,) = captions_of(pair, random.Random(0), count=1)
        assert text in (("cheaper", "at a lower price") if cheaper else ("more expensive", "at a higher price"))


def test_captions_name_every_difference() -> None:
    one, other = entry(0, colour="red", sleeve="short", logo=True), entry(1, colour="blue", sleeve="long", logo=False)
    for seed in range(200):
        captions = captions_of(Pair(one, other, ("colour", "sleeve", "logo")), random.Random(seed))
        assert len(set(captions)) == len(captions) == 2
        for caption in captions:
            assert "blue" in caption and "long" in caption and "logo" in caption
            assert "no logo" in caption or "without logo" in caption or "remove the logo" in caption


def test_lists_are_told_by_what_is_added_or_removed() -> None:
    more = Pair(entry(0, tags=["a"]), entry(1, tags=["a", "b"]), ("tags",))
    assert captions_of(more, random.Random(0), 1)[0] in ("with b", "add b")
    less = Pair(more.target, more.reference, ("tags",))
    assert captions_of(less, random.Random(0), 1)[0] in ("without b", "no b")


def test_attributes_that_say_nothing_of_a_picture_are_left_out() -> None:
    entries = [
        entry(
            n,
            colour=["red", "blue"][n % 2],
            sku_code=f"A{n % 3}",
            added=f"2026-01-{1 + n % 28:02}",
            photo=f"https://x.example/{n % 4}",
            note=f"a text of more than five words number {n % 4}",
            serial=f"s{n}",
            brand="one",
            secret=["x", "y"][n % 2],
            **({"rare": n % 2 == 0} if n < 2 else {}),
        )
        for n in range(60)
    ]
    found = usable_attributes(entries, excluded=("secret",))
    assert found.names == ("colour",)
    reasons = (
        "id, an address",
        "dates",
        "addresses",
        "five words",
        "of its own",
        "same value",
        "excluded",
        "only 2 of",
    )
    for reason, name in zip(
        reasons, ("sku_code", "added", "photo", "note", "serial", "brand", "secret", "rare"), strict=True
    ):
        assert reason.replace("five", "5") in found.left_out[name], name


def test_the_folder_is_a_dataset_whose_splits_share_no_product(tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    entries = garments(120, feed)
    for one in entries:
        write_picture(feed / one.images[0].name)
    made = write_triplets(entries, {"pictures": feed}, tmp_path / "data", 300, val_share=0.3)
    assert made.counts["train"] == 300 and made.counts["val"] > 20
    data = Data(format="triplets", root=str(tmp_path / "data"))
    dataset = load_dataset(data, Location.parse(tmp_path / "store"), "white")
    ids = {
        name: {triplet.reference for triplet in split.triplets} | {str(triplet.target) for triplet in split.triplets}
        for name, split in dataset.splits.items()
    }
    assert not ids["train"] & ids["val"]
    assert len(dataset.splits["train"].triplets) == 300
    again = write_triplets(entries, {"pictures": feed}, tmp_path / "again", 300, val_share=0.3)
    assert again.examples == made.examples, "the same seed makes the same triplets"


def test_variants_of_a_product_are_in_one_split(tmp_path: Path) -> None:
    entries = [
        entry(n, tmp_path, group=f"p{n // 4}", colour=["red", "blue", "green", "white"][n % 4], sleeve="short")
        for n in range(200)
    ]
    write_triplets(entries, {"pictures": tmp_path}, tmp_path / "data", 200, val_share=0.3)
    group = {one.id: one.group for one in entries}
    found = {}
    for name in ("train", "val"):
        lines = (tmp_path / "data" / f"triplets.{name}.jsonl").read_text().splitlines()
        found[name] = {group[json.loads(line)[key]] for line in lines for key in ("reference", "target")}
    assert not found["train"] & found["val"]


def test_a_catalog_without_usable_attributes_is_an_error(tmp_path: Path) -> None:
    entries = [entry(n, tmp_path, sku=f"{n}") for n in range(10)]
    with pytest.raises(DataError, match=r"no attribute of the catalog can be used.*\n  sku: its name"):
        write_triplets(entries, {"pictures": tmp_path}, tmp_path / "data", 10)
    assert not (tmp_path / "data").exists()


def test_the_job(tmp_path: Path) -> None:
    lines = [
        json.dumps({"id": one.id, "image": one.images[0].name, "title": one.title, **one.attributes})
        for one in garments(60, tmp_path)
    ]
    (tmp_path / "feed.jsonl").write_text("\n".join(lines))
    for one in garments(60, tmp_path):
        write_picture(tmp_path / one.images[0].name)
    command = [sys.executable, "jobs/triplets.py", "--catalog", str(tmp_path / "feed.jsonl"), "--count", "50"]
    done = subprocess.run([*command, "--output", str(tmp_path / "data")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *examples, result = done.stdout.splitlines()
    assert len(examples) == 20 and all(" -> " in example for example in examples)
    assert json.loads(result)["triplets"]["train"] == 50
