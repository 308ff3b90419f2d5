"""Frozen features: one object that stage 2, evaluation, tuning and the study look rows up in."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import pytest
import torch

from cirray.data.records import Dataset, Protocol, Split, Triplet
from cirray.data.table import build_table
from cirray.errors import StoreError
from cirray.features.embed import text_key
from cirray.features.frozen import FrozenFeatures, read_features
from cirray.features.store import FeatureStore
from cirray.storage.location import Location

KEYS = ("key a", "key b", "key c")


def split(name: str, *triplets: tuple[str, tuple[str, ...], str]) -> Split:
    return Split(name, tuple(Triplet(*triplet) for triplet in triplets), {"all": ("a", "b", "c")})


@pytest.fixture
def stores(tmp_path: Path) -> tuple[FeatureStore, FeatureStore]:
    """Filled with features that differ in length."""
    images = FeatureStore(Location.parse(tmp_path), "image", "0" * 64)
    images.write(KEYS, torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]]).numpy())
    texts = FeatureStore(Location.parse(tmp_path), "text", "0" * 64)
    captions = {text for name in dataset().splits for text in build_table(dataset(), name).captions}
    texts.write([text_key(text) for text in captions], torch.stack([caption_row(text) for text in captions]).numpy())
    return images, texts


def caption_row(text: str) -> torch.Tensor:
    """A feature that tells captions apart."""
    return torch.tensor([float(len(text)), float(sum(text.encode()))])


def dataset() -> Dataset:
    train = split("train", ("a", ("is red", "is blue"), "b"), ("b", ("is red",), "c"))
    val = split("val", ("c", ("is green",), "a"), ("a", ("is red",), "b"), ("b", ("is green",), "c"))
    splits = {"train": train, "val": val}
    return Dataset("test", {name: Path(name) for name in "abc"}, {}, {}, splits, Protocol("test", False))


def features(stores: tuple[FeatureStore, FeatureStore]) -> FrozenFeatures:
    data = dataset()
    return read_features(*stores, KEYS, {name: build_table(data, name) for name in data.splits})


def test_rows_are_those_of_the_table(stores: tuple[FeatureStore, FeatureStore]) -> None:
    found, table = features(stores), build_table(dataset(), "val")
    assert torch.equal(found.images, torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]]))
    torch.testing.assert_close(found.unit_images, torch.tensor([[0.6, 0.8], [0.0, 1.0], [1.0, 0.0]]))
    green, red = (caption_row(text) for text in table.captions)
    assert torch.equal(found.captions["val"], torch.stack([green, red])), "each caption once"
    reference, caption = found.query_inputs("val", table)
    assert torch.equal(reference, torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0]]))
    assert torch.equal(caption, torch.stack([green, red, green]))
    assert not torch.equal(green, red)
    assert found.nbytes == 4 * (6 + 6 + 4 + found.captions["train"].numel())


def test_a_caption_that_is_not_stored_is_missed(stores: tuple[FeatureStore, FeatureStore]) -> None:
    data = dataset()
    wanted = split("val", ("a", ("is new",), "b"))
    table = build_table(Dataset("test", data.images, {}, {}, {"val": wanted}, data.protocol), "val")
    with pytest.raises(StoreError, match="lacks 1 of 1 rows"):
        read_features(*stores, KEYS, {"val": table})


def test_they_are_shared_without_a_copy(stores: tuple[FeatureStore, FeatureStore]) -> None:
    """Ray's object store maps the buffers of pickle's protocol 5, read-only, into each process."""
    found = features(stores)
    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(found, protocol=5, buffer_callback=buffers.append)
    assert sum(buffer.raw().nbytes for buffer in buffers) == found.nbytes, "nothing is stored twice"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mapped = pickle.loads(content, buffers=[buffer.raw().toreadonly() for buffer in buffers])  # noqa: S301
    for one, other in zip(tensors(found), tensors(mapped), strict=True):
        assert torch.equal(one, other)
        assert one.data_ptr() == other.data_ptr()


def test_on_their_own_device_nothing_is_copied(stores: tuple[FeatureStore, FeatureStore]) -> None:
    found = features(stores)
    moved = found.to(torch.device("cpu"))
    assert [tensor.data_ptr() for tensor in tensors(moved)] == [tensor.data_ptr() for tensor in tensors(found)]


def tensors(found: FrozenFeatures) -> list[torch.Tensor]:
    return [found.images, found.unit_images, *found.captions.values()]
