"""Products of several items and pictures: what all backends answer, against a slow oracle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cirray.data.filters import Filter
from cirray.index.backend import Reader
from cirray.index.items import Item, Picture, point_id
from tests.support.index_backends import KNOWN, QDRANT_WARNINGS, AnyBackend, backend_of, browsed, fill, plan, rows

pytestmark = QDRANT_WARNINGS


def product(number: int, pictures: int = 1, group: str = "", **attributes: object) -> Item:
    more = tuple(Picture(f"{number}-{at}.jpg", f"{number}-{at}") for at in range(1, pictures))
    return Item(f"item{number}", f"{number}-0.jpg", f"{number}-0", f"Item {number}", attributes, group, more)


# Items of 1 to 4 pictures; two of three belong to a product with other items, one of these has an item's id.
CATALOG = [
    product(number, 1 + number % 4, ["", f"shirt{number % 5}", "item0"][number % 3], sale=number % 2 == 0)
    for number in range(40)
]
OWNERS = [(item, number) for item in CATALOG for number in range(len(item.pictures))]


def features() -> np.ndarray:
    """Some pictures are the same as another's."""
    made = rows(len(OWNERS), seed=4)
    made[np.arange(0, len(OWNERS), 3)] = made[0]
    return made


@pytest.fixture(params=["edge", "memory", "server"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyBackend]:
    with backend_of(request.param, tmp_path, request) as opened:
        yield opened


@pytest.fixture(scope="module", params=["edge", "memory", "server"])
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with backend_of(request.param, tmp_path_factory.mktemp("backend"), request) as backend:
        done = fill(backend, CATALOG, features(), attributes=KNOWN, indexed=["sale"], grouped=True)
        assert done.count == len(CATALOG)
        opened = backend.open(done.name)
        yield opened
        opened.close()


def unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=-1, keepdims=True)


def oracle(query: np.ndarray, on_sale: bool, without: list[str]) -> list[tuple[str, str, int]]:
    """Returns (product, item, picture number) of each product's best picture, best first."""
    scores = np.round(unit(features()) @ unit(query[0]), 5)
    left_out = {item.product for item in CATALOG if item.id in without}
    ranked = sorted(
        (-score, point_id(item.id, number), item, number) for score, (item, number) in zip(scores, OWNERS, strict=True)
    )
    best: dict[str, tuple[str, str, int]] = {}
    for _, _, item, number in ranked:
        if item.product not in left_out and (item.attributes["sale"] or not on_sale):
            best.setdefault(item.product, (item.product, item.id, number))
    return list(best.values())


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 50),
    st.integers(1, 30),
    st.integers(0, 30),
    st.booleans(),
    st.lists(st.sampled_from(["item1", "item5", "item6", "no"]), max_size=3),
)
def test_search_shows_the_best_picture_of_each_product(
    reader: Reader, seed: int, limit: int, offset: int, on_sale: bool, without: list[str]
) -> None:
    query = rows(1, seed=100 + seed)
    filter = Filter({"sale": True}) if on_sale else None
    (hits,) = reader.search(query, limit, offset, filter, without)
    shown = [(hit.item.product, hit.item.id, hit.number) for hit in hits]
    assert shown == oracle(query, on_sale, without)[offset : offset + limit]
    for hit in hits:
        assert hit.item in CATALOG
        row = OWNERS.index((hit.item, hit.number))
        assert hit.score == pytest.approx(unit(features()[row]) @ unit(query[0]), abs=1e-5)


def test_browsing_and_counting_are_of_items(reader: Reader) -> None:
    assert sorted(item.id for item in browsed(reader, 7)) == sorted(item.id for item in CATALOG)
    assert reader.count() == len(CATALOG)
    assert reader.count(Filter({"sale": True})) == len(browsed(reader, 3, Filter({"sale": True}))) == 20
    assert reader.items(["item3"]) == {"item3": CATALOG[3]}
    assert reader.digests() == {item.id: item.digest() for item in CATALOG}


def test_features_are_of_the_chosen_picture(reader: Reader) -> None:
    for number in range(4):
        row = OWNERS.index((CATALOG[3], number))
        np.testing.assert_allclose(reader.features(["item3"], number)["item3"], features()[row], rtol=1e-5, atol=1e-5)
    assert reader.features(["item3"], 4) == {}
    assert set(reader.features(["item3", "item4"], 1)) == {"item3"}


def points(reader: Reader, known: Sequence[str]) -> int:
    return sum(len(reader.features(known, number)) for number in range(5))


def test_replaced_and_removed_items_leave_no_pictures(backend: AnyBackend) -> None:
    writer = backend.create(plan(grouped=True))
    writer.upload([product(1, 4), product(2, 3), product(3)], rows(8))
    writer.upload([product(1, 2)], rows(2))
    writer.remove(["item2", "nobody"])
    done = writer.finish({})
    writer.close()
    assert done.count == 2
    reader = backend.open(done.name)
    assert points(reader, ["item1", "item2", "item3"]) == 3
    assert {hit.item.id for hit in reader.search(rows(1), 9)[0]} == {"item1", "item3"}
    reader.close()


def test_an_item_of_one_picture_is_stored_as_by_earlier_versions() -> None:
    one = product(1)
    assert set(one.payload(1.0)) == {"id", "image", "content", "title", "attributes", "digest", "norm"}
    assert point_id("item1") == "eee53110-f326-51f7-91ac-b9079f8a660f"
    assert Item("item1", "a.jpg", "c", "T", {"x": 1}).digest() == "e62c844a0b4654fb13108ce85cd4efd8"
    assert len({one.digest(), product(1, 2).digest(), product(1, group="shirt").digest()}) == 3
