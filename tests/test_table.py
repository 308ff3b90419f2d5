"""The triplet table."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cirray.data.records import Dataset, Protocol, Split, Triplet
from cirray.data.table import build_table
from cirray.evaluation.cosine import CosineRetriever
from cirray.evaluation.retriever import evaluate


def dataset(triplets: tuple[Triplet, ...], galleries: dict[str, tuple[str, ...]]) -> Dataset:
    images = {name: Path(f"{name}.png") for name in ("c", "a", "d", "b", "f", "e")}
    return Dataset(
        name="test",
        images=images,
        contents={name: name * 3 for name in images},
        titles={},
        splits={"val": Split("val", triplets, galleries)},
        protocol=Protocol("test", exclude_reference=False),
    )


def test_two_categories() -> None:
    data = dataset(
        (
            Triplet("a", ("is Red.", "is long"), "b", "dress"),
            Triplet("b", ("is long", "is red"), "c", "shirt"),
            Triplet("d", ("is new",), "a", "dress"),
        ),
        {"shirt": ("c", "b"), "dress": ("b", "a", "d")},
    )
    table = build_table(data, "val")
    assert len(table) == 3
    assert table.reference.tolist() == [1, 3, 2]  # places in the order of dataset.images: c a d b f e
    assert table.target.tolist() == [3, 0, 1]
    texts = [[table.captions[row] for row in rows] for rows in table.variants]
    assert texts == [
        ["Is red and is long", "Is long and is Red", "Is red", "Is long"],
        ["Is long and is red", "Is red and is long", "Is long", "Is red"],
        ["is new"],
    ]
    assert [table.captions[row] for row in table.query] == ["Is red and is long", "Is long and is red", "is new"]
    assert len(set(table.captions)) == len(table.captions) == 6  # each text once, however many triplets use it
    found = {name: (rows.tolist(), gallery.tolist()) for name, (rows, gallery) in table.categories.items()}
    assert found == {"shirt": ([1], [0, 3]), "dress": ([0, 2], [3, 1, 2])}
    assert list(found) == ["shirt", "dress"]
    assert table.subset.shape == (3, 0)


def test_a_category_without_triplets_is_not_averaged_over() -> None:
    galleries = {"shirt": ("c", "b"), "dress": ("b", "a", "d"), "toptee": ("e", "f")}
    table = build_table(
        dataset((Triplet("a", ("x",), "b", "dress"), Triplet("b", ("y",), "c", "shirt")), galleries), "val"
    )
    assert list(table.categories) == ["shirt", "dress"]
    torch.manual_seed(0)
    protocol = Protocol("test", False, ks=(1,), selection="mean-all")
    found = evaluate(CosineRetriever(table, torch.rand(6, 3), torch.rand(2, 3)), protocol)
    assert [one.category for one in found] == ["shirt", "dress", "average"]
    assert math.isfinite(found[-1].metrics["R@1"])


def test_image_sets_and_secret_targets() -> None:
    data = dataset(
        (
            Triplet("a", ("x",), None, subset=("b", "c", "d", "e", "f")),
            Triplet("b", ("x",), "c", subset=("a", "c")),
            Triplet("c", ("y",), None),
        ),
        {"all": ("a", "b", "c", "d", "e", "f")},
    )
    table = build_table(data, "val")
    assert table.target.tolist() == [-1, 0, -1]
    assert table.subset.tolist() == [[3, 0, 2, 5, 4], [1, 0, -1, -1, -1], [-1] * 5]
    assert table.categories["all"][1].tolist() == [1, 3, 0, 2, 5, 4]
    assert table.captions == ("x", "y")
    assert table.variants == ((0,), (0,), (1,))
    assert table.query.tolist() == [0, 0, 1]


def test_what_only_another_split_names_is_no_negative() -> None:
    data = dataset((Triplet("a", ("x",), "b"),), {"one": ("e", "a", "b"), "two": ("b", "c", "d", "f")})
    other = Split("train", (Triplet("a", ("x",), "c"), Triplet("f", ("x",), "a")), {})
    table = build_table(replace(data, splits={**data.splits, "train": other}), "val")
    assert [list(data.images)[row] for row in table.gallery] == ["e", "a", "b", "d"]


def test_a_split_without_triplets() -> None:
    table = build_table(dataset((), {"all": ("a",)}), "val")
    assert len(table) == 0
    assert table.captions == ()
    assert table.reference.shape == table.target.shape == table.query.shape == (0,)
    assert table.subset.shape == (0, 0)
    assert table.categories == {}


def test_unknown_splits_and_images() -> None:
    with pytest.raises(KeyError, match="train"):
        build_table(dataset((), {}), "train")
    with pytest.raises(KeyError, match="nowhere"):
        build_table(dataset((Triplet("nowhere", ("x",), "a"),), {"all": ("a",)}), "val")
