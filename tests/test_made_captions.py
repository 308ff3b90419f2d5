"""Captions of pairs: they name every change, and say it in the way of its kind."""

from __future__ import annotations

import random
from typing import Any

import pytest

from cirray.data.made_triplets.captions import captions_of, shared_values
from cirray.data.made_triplets.names import spoken_name_of_one
from cirray.data.made_triplets.pair import TITLE, Change, Pair
from cirray.data.made_triplets.templates import read_templates
from tests.support.made_items import item


def pair(target_title: str = "", /, **changes: tuple[Any, Any]) -> Pair:
    old = {name: values[0] for name, values in changes.items()}
    new = {name: values[1] for name, values in changes.items()}
    attributes = [{name: value for name, value in values.items() if name != TITLE} for values in (old, new)]
    reference, target = item(0, **attributes[0]), item(1, target_title, **attributes[1])
    return Pair(reference, target, tuple(Change(name, old[name], new[name]) for name in changes))


def wordings(one: Pair, **options: Any) -> set[str]:
    """All captions of a pair, as far as 300 draws find them."""
    return {caption for seed in range(300) for caption in captions_of(one, random.Random(seed), **options)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"price": (9.0, 5.0)}, {"cheaper", "at a lower price"}),
        ({"unit_cost": (5.0, 9.0)}, {"more expensive", "at a higher price"}),
        ({"heel_height": (5, 9)}, {"higher heel height", "larger heel height"}),
        ({"heelHeight": (9, 5)}, {"lower heel height", "smaller heel height"}),
        ({"has_logo": (False, True)}, {"with logo", "has logo", "add logo"}),
        ({"logo": (True, False)}, {"without logo", "no logo", "has no logo", "remove the logo"}),
        ({"belt": ("leather", "none")}, {"without belt", "no belt", "has no belt", "remove the belt"}),
        (
            {"tags": (["a", "sun hat"], ["sun hat", "bow tie"])},
            {"tag bow tie instead of a", "the tag is bow tie", "change the tag to bow tie"}
            | {"bow tie tag", "has bow tie tag", "tag bow tie"},
        ),
        ({"tags": (["hat"], ["hat", "bow"])}, {"with bow", "add bow", "tags with bow", "add bow to the tags"}),
        (
            {"tags": (["hat", "bow"], ["hat"])},
            {"without bow", "no bow", "remove bow", "tags without bow", "remove bow from the tags"},
        ),
        ({TITLE: ("", "dark")}, {"with dark", "add dark"}),
        ({TITLE: ("dark", "")}, {"without dark", "no dark", "remove dark"}),
    ],
)
def test_each_kind_of_change_has_its_wordings(changes: dict[str, Any], expected: set[str]) -> None:
    assert wordings(pair(**changes)) == expected


def test_texts_replace_each_other() -> None:
    found = wordings(pair(colour=("red", "dark_blue")))
    assert {"dark blue", "dark blue instead of red", "not red but dark blue", "change the colour to dark blue"} <= found
    assert all("dark blue" in caption for caption in found) and len(found) == len(read_templates().text)


def test_of_a_category_path_the_last_part_is_said() -> None:
    found = wordings(pair(categories=(["Clothes > Hats"], ["Clothes > Dresses"])))
    assert {"Dresses", "Dresses instead of Hats", "the category is Dresses"} <= found
    assert not any(">" in caption for caption in found)


def test_category_paths_with_the_same_last_part_are_said_in_full() -> None:
    found = wordings(pair(category=("Women > Shoes", "Men > Shoes")))
    assert "not Women Shoes but Men Shoes" in found
    assert all("Men Shoes" in caption for caption in found)


def test_a_value_that_replaces_none_is_not_said_to_be_instead_of_it() -> None:
    assert all("none" not in caption.lower() for caption in wordings(pair(belt=("None", "leather"))))


def test_words_of_titles_replace_each_other_without_an_attribute() -> None:
    found = wordings(pair(**{TITLE: ("dark", "light")}))
    expected = {wording.format(value="light", old="dark") for wording in read_templates().words}
    assert found == expected and "light instead of dark" in found


def test_values_of_several_attributes_and_sizes_are_named_with_their_attribute() -> None:
    entries = [item(0, sleeve="long", length="short"), item(1, sleeve="short", length="knee")]
    shared = shared_values(entries, ("sleeve", "length"))
    assert shared == {"short"}
    assert all("sleeve" in caption for caption in wordings(pair(sleeve=("long", "short")), shared=shared))
    assert all("size" in caption for caption in wordings(pair(size=("40", "42"))))


def test_captions_name_every_change_in_any_order() -> None:
    one = pair(colour=("red", "blue"), sleeve=("short", "long"), logo=(True, False))
    found = wordings(one)
    assert all("blue" in caption and "long" in caption and "logo" in caption for caption in found)
    assert len({tuple(sorted(("blue", "long", "logo"), key=caption.index)) for caption in found}) == 6
    for seed in range(50):
        captions = captions_of(one, random.Random(seed))
        assert len(set(captions)) == 2


def test_a_small_share_of_captions_is_the_title() -> None:
    one = pair("A blue  dress", colour=("red", "blue"))
    captions = [caption for seed in range(3000) for caption in captions_of(one, random.Random(seed), titles=True)]
    share = captions.count("A blue dress") / len(captions)
    assert share == pytest.approx(read_templates().title.share, abs=0.015) and share > 0


@pytest.mark.parametrize(
    ("title", "changes"),
    [
        (" ".join(["word"] * 13), {"colour": ("red", "blue")}),
        ("SKU123", {"colour": ("red", "blue")}),
        ("a blue dress", {TITLE: ("red", "blue")}),
    ],
)
def test_long_titles_codes_and_pairs_by_title_get_no_title_caption(title: str, changes: dict[str, Any]) -> None:
    assert title not in wordings(pair(title, **changes), titles=True)


def test_titles_are_captions_only_if_asked_for() -> None:
    assert "a blue dress" not in wordings(pair("a blue dress", colour=("red", "blue")))


@pytest.mark.parametrize(
    ("name", "expected"), [("categories", "category"), ("tags", "tag"), ("dress", "dress"), ("colour", "colour")]
)
def test_the_name_of_one_value_of_a_list(name: str, expected: str) -> None:
    assert spoken_name_of_one(name) == expected
