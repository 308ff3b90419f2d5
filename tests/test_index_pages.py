"""Pages of search results are complete and without repeats, for any number of equal scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cirray.config.indexing import Hnsw, IndexShape
from cirray.data.filters import Filter
from cirray.index.backend import Reader
from cirray.index.edge import EdgeBackend
from cirray.index.pages import Candidate, read_pages
from tests.support.index_backends import KNOWN, QDRANT_WARNINGS, backend_of, fill, found, item, rows

pytestmark = QDRANT_WARNINGS
COPIES, OTHERS = 1000, 90
COUNT = COPIES + OTHERS


def with_copies(count: int, copies: int) -> np.ndarray:
    """Raw features of `count` items, of which `copies`, spread among the others, share one picture."""
    features = rows(count, seed=1)
    features[np.random.default_rng(2).permutation(count)[:copies]] = features[0]
    return features


@pytest.fixture(scope="module", params=["edge", "memory", "server"])
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with backend_of(request.param, tmp_path_factory.mktemp("backend"), request) as backend:
        these = [item(number, sale=number % 2 == 0) for number in range(COUNT)]
        done = fill(backend, these, with_copies(COUNT, COPIES), attributes=KNOWN, indexed=["sale"])
        opened = backend.open(done.name)
        yield opened
        opened.close()


FILTERS = [None, Filter({"sale": True})]


@settings(max_examples=15, deadline=None)
@given(st.data(), st.integers(0, 9), st.sampled_from(FILTERS), st.sampled_from([[], ["item3"]]))
def test_every_page_is_a_slice_of_one_complete_list(
    reader: Reader, data: st.DataObject, seed: int, filter: Filter | None, without: list[str]
) -> None:
    query = rows(1, seed=100 + seed)
    whole = found(reader, query, COUNT + 5, filter=filter, without=without)
    numbers = [number for number in range(COUNT) if filter is None or number % 2 == 0]
    assert sorted(whole) == sorted({f"item{number}" for number in numbers} - {*without})
    for _ in range(4):
        limit, offset = data.draw(st.integers(1, 200)), data.draw(st.integers(0, COUNT + 5))
        assert (
            found(reader, query, limit, offset=offset, filter=filter, without=without)
            == (whole[offset : offset + limit])
        )


@pytest.mark.parametrize("limit", [20, 137])
def test_paging_through_all_shows_each_item_once(reader: Reader, limit: int) -> None:
    query = with_copies(COUNT, COPIES)[0]  # the copies come first
    paged = [name for offset in range(0, COUNT, limit) for name in found(reader, query, limit, offset=offset)]
    assert sorted(paged) == sorted(f"item{number}" for number in range(COUNT))


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_a_graph_does_not_hide_copies(quantization: str, tmp_path: Path) -> None:
    count, copies = 3000, 1000
    shape = IndexShape(hnsw=Hnsw(threshold_kb=20), quantization=quantization)
    features = with_copies(count, copies)
    backend = EdgeBackend(tmp_path)
    reader = backend.open(fill(backend, [item(number) for number in range(count)], features, settings=shape).name)
    same = {f"item{number}" for number in np.flatnonzero((features == features[0]).all(axis=1))}
    assert len(same) >= copies
    paged = [name for offset in range(0, len(same), 200) for name in found(reader, features[0], 200, offset=offset)]
    assert same <= set(paged)
    assert len(paged) == len(set(paged))
    assert len(found(reader, rows(1, seed=5), count)) == count
    reader.close()


def test_a_page_without_ties_takes_one_request_and_tied_rows_alone_are_asked_again() -> None:
    asked: list[tuple[int, int, bool]] = []
    lists = [[float(number) for number in range(500)], [1.0] * 300 + [2.0] * 200]

    def nearest(some: np.ndarray, size: int, exact: bool) -> list[list[Candidate]]:
        asked.append((len(some), size, exact))
        return [[Candidate(cost, f"{at:03}") for at, cost in enumerate(lists[int(row[0])])][:size] for row in some]

    queries = np.array([[0.0], [1.0]], np.float32)
    pages = read_pages(nearest, queries, 20, 20, 16)
    assert [[candidate.point for candidate in page] for page in pages] == [[f"{at:03}" for at in range(20, 40)]] * 2
    assert asked == [(2, 64, False), (1, 128, True), (1, 256, True), (1, 512, True)]
    asked.clear()
    assert len(read_pages(nearest, queries[:1], 64, 0, None)[0]) == 64
    assert asked == [(1, 128, True)]
