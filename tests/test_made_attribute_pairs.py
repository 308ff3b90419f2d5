"""Pairs by attributes: against a slow oracle, balanced, and of attributes that say something."""

from __future__ import annotations

import random
from collections import Counter
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cirray.data.catalog import Entry
from cirray.data.made_triplets.attribute_pairs import AttributePairs
from cirray.data.made_triplets.draw import draw_pairs
from cirray.data.made_triplets.pair import Pair
from cirray.data.made_triplets.usable import usable_attributes
from tests.support.made_items import all_differ, garments, item

NAMES = ("colour", "sleeve", "logo", "tags")

ITEMS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "colour": st.sampled_from(["a", "b", "c", "A"]),
            "sleeve": st.sampled_from("xy"),
            "logo": st.booleans(),
            "tags": st.lists(st.sampled_from("pq"), min_size=1, max_size=2, unique=True),
        },
    ),
    min_size=2,
    max_size=8,
)


def drawn(entries: list[Entry], names: tuple[str, ...], count: int) -> list[Pair]:
    return draw_pairs([(AttributePairs(entries, names, 0), 1.0)], count, 0, all_differ).pairs


def plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else str(value).lower()


@settings(deadline=None, derandomize=True)  # random draws find all pairs with high probability only
@given(ITEMS)
def test_pairs_are_those_that_an_oracle_finds(items: list[dict[str, Any]]) -> None:
    entries = [item(n, **attributes) for n, attributes in enumerate(items)]
    expected = {}
    for one, other in permutations(entries, 2):
        both = [name for name in NAMES if name in one.attributes and name in other.attributes]
        either = [name for name in NAMES if name in one.attributes or name in other.attributes]
        changed = {name for name in both if plain(one.attributes[name]) != plain(other.attributes[name])}
        if both == either and 1 <= len(changed) <= 3 and len(changed) <= len(both) - len(changed):
            expected[one.id, other.id] = changed
    found = drawn(entries, NAMES, 1000)
    assert {(pair.reference.id, pair.target.id): {change.attribute for change in pair.changes} for pair in found} == (
        expected
    )
    for pair in found:
        for change in pair.changes:
            values = pair.reference.attributes[change.attribute], pair.target.attributes[change.attribute]
            assert (change.old, change.new) == values


def test_rare_values_are_drawn_as_often_as_frequent_ones() -> None:
    entries = [item(n, colour="red" if n % 50 else "blue", sleeve="short") for n in range(1000)]
    entries += [item(1000 + n, colour="green", sleeve="short") for n in range(20)]
    targets = Counter(pair.target.attributes["colour"] for pair in drawn(entries, ("colour", "sleeve"), 3000))
    assert min(targets.values()) > 700, targets


def test_attributes_that_rarely_differ_are_drawn_as_often_as_others() -> None:
    entries = [item(n, colour=f"c{n % 10}", sleeve="short", brand="one") for n in range(500)]
    entries += [item(500 + n, colour="c0", sleeve="long", brand="one") for n in range(30)]
    changes = Counter(pair.changes[0].attribute for pair in drawn(entries, ("colour", "sleeve", "brand"), 2000))
    assert 0.8 < changes["colour"] / changes["sleeve"] < 1.25, changes


def test_one_two_and_three_differences_are_drawn_in_their_shares() -> None:
    entries = [item(n, **{f"a{k}": f"v{n >> k & 1}" for k in range(6)}) for n in range(64)]
    source = AttributePairs(entries, [f"a{k}" for k in range(6)], 0)
    sizes = Counter(len(source.draw(random.Random(seed)).changes) for seed in range(400))
    assert sizes[1] / 400 == pytest.approx(0.5, abs=0.1) and sizes[3] / 400 == pytest.approx(0.15, abs=0.07)


def test_numbers_agree_in_ranges() -> None:
    entries = [item(n, price=float(n), colour="red" if n % 2 else "blue") for n in range(100)]
    pairs = drawn(entries, ("price", "colour"), 4000)
    by_colour = [pair for pair in pairs if pair.changes[0].attribute == "colour"]
    by_price = [pair for pair in pairs if pair.changes[0].attribute == "price"]
    assert by_colour and by_price
    for pairs, differ in ((by_colour, False), (by_price, True)):
        for pair in pairs:
            ranges = {entry.attributes["price"] // 20 for entry in (pair.reference, pair.target)}
            assert len(ranges) == 1 + differ


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"sku_code": lambda n: f"A{n % 3}"}, "its name is that of an id"),
        ({"productId": lambda n: f"A{n % 3}"}, "its name is that of an id"),
        ({"added": lambda n: f"2026-01-{1 + n % 12:02}"}, "dates"),
        ({"photo": lambda n: f"https://x.example/{n % 4}"}, "addresses"),
        ({"contact": lambda n: f"a{n % 4}@x.example"}, "addresses"),
        ({"note": lambda n: f"a text of more than five words number {n % 4}"}, "more than 5 words"),
        ({"serial": lambda n: f"s{n}"}, "a value of its own"),
        ({"row": lambda n: n + 100}, "number the items"),
        ({"barcodes": lambda n: 4_000_000_000_000 + 977 * n}, "codes"),
        ({"brand": lambda n: "one"}, "same value"),
        ({"secret": lambda n: "xy"[n % 2]}, "excluded"),
        ({"rare": lambda n: n % 2 == 0 if n < 2 else None}, "only 2 of 60"),
        ({"price": lambda n: n % 7 + 0.5, "sale_price": lambda n: n % 5 + 0.5}, "price is the price"),
    ],
)
def test_attributes_that_say_nothing_of_a_picture_are_left_out(values: dict[str, Any], reason: str) -> None:
    entries = []
    for one in garments(60):
        number = int(one.id[1:])
        more = {name: value(number) for name, value in values.items() if value(number) is not None}
        entries.append(item(number, **one.attributes, **more))
    found = usable_attributes(entries, {"secret": "excluded"})
    (name,) = found.left_out
    assert name == list(values)[-1] and reason in found.left_out[name]
    assert set(found.names) == {"colour", "sleeve", "logo", *values} - {name}


def test_in_a_small_catalog_values_may_be_few_but_not_all_different() -> None:
    entries = [
        item(n, colour=["red", "blue", "green"][n % 3], sleeve=["a", "b"][n // 3], serial=f"s{n}") for n in range(6)
    ]
    assert usable_attributes(entries, {}).names == ("colour", "sleeve")


def test_a_single_attribute_makes_no_pairs() -> None:
    found = usable_attributes([item(n, category="ab"[n % 2]) for n in range(20)], {})
    assert found.names == () and "must agree in another attribute" in found.left_out["category"]
