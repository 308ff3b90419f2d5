"""A generation of the index: its name, what shapes it, and which bundle it fits."""

from __future__ import annotations

import pytest

from cirray.config.indexing import Hnsw, Indexing, IndexShape
from cirray.data.attributes import Attribute
from cirray.errors import SearchIndexError
from cirray.index.backend import check_fingerprint, new_name, same_build
from tests.support.index_backends import KNOWN, PRINT, plan


def test_names_sort_by_time() -> None:
    made = [new_name() for _ in range(500)]
    moments = [name.split("-")[0] for name in made]
    assert moments == sorted(moments)
    assert len(set(made)) == len(made)


def test_what_must_be_the_same_for_items_to_be_taken_over() -> None:
    base = plan(attributes=KNOWN, indexed=["price"])
    assert same_build(base, plan(attributes=list(reversed(KNOWN)), indexed=["price"], count=9))
    assert same_build(base, plan(attributes=KNOWN, indexed=["price"], settings=Indexing(batch=3, keep=9).shape()))
    texts = [Attribute(name="price", kind="keyword")]
    for other in (
        plan("cd" * 32, attributes=KNOWN, indexed=["price"]),
        plan(attributes=KNOWN, indexed=["price"], dim=9),
        plan(attributes=KNOWN, indexed=["price", "sale"]),
        plan(attributes=texts, indexed=["price"]),
        plan(attributes=KNOWN, indexed=["price"], settings=IndexShape(quantization="int8")),
        plan(attributes=KNOWN, indexed=["price"], settings=IndexShape(hnsw=Hnsw(m=17))),
    ):
        assert not same_build(base, other)


def test_a_bundle_that_did_not_make_the_index_is_refused() -> None:
    check_fingerprint(plan(), PRINT, "bundle", "here")
    with pytest.raises(SearchIndexError, match=r"bundle B does not fit the index at here: .* cdcdcdcdcdcd, .* abab"):
        check_fingerprint(plan(), "cd" * 32, "B", "here")
