"""The feature store filled by real Ray actors."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cirray.config.compute import Embedding
from cirray.config.data import Preprocess
from cirray.data.images import PictureError
from cirray.features.embed import DecodePixels
from cirray.features.fill import fill
from cirray.features.store import FeatureStore
from cirray.storage.location import Location
from tests.support.small_catalog import write_small_catalog

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]
SETTINGS = Embedding(batch_size=3, shard_rows=7, inline_pictures=0)


@pytest.fixture
def items(tmp_path: Path) -> dict[str, str]:
    """Content key -> picture of 40 pictures."""
    pictures = sorted((write_small_catalog(tmp_path / "data") / "images").iterdir())
    return {hashlib.sha256(path.read_bytes()).hexdigest(): str(path) for path in pictures}


class DyingOnce:
    """Decodes pixels; the first actor that is called dies."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker
        self.decode = DecodePixels(32, Preprocess())

    def __call__(self, payloads: Sequence[str]) -> np.ndarray:
        if not self.marker.exists():
            self.marker.touch()
            os._exit(1)
        return self.decode(payloads)


def pixel_store(folder: Path) -> FeatureStore:
    return FeatureStore(Location.parse(folder / "store"), "pixels", "f" * 64)


def test_actors_store_what_one_process_computes(items: dict[str, str], tmp_path: Path) -> None:
    make = partial(DecodePixels, 32, Preprocess())
    store = pixel_store(tmp_path)
    assert fill(store, items, make, SETTINGS, 2, "pixels") == len(items)
    expected = make()(list(items.values()))
    np.testing.assert_array_equal(store.read(list(items)).numpy(), expected)
    assert fill(pixel_store(tmp_path), items, make, SETTINGS, 2, "pixels") == 0


def test_only_what_is_missing_is_computed(items: dict[str, str], tmp_path: Path) -> None:
    make = partial(DecodePixels, 32, Preprocess())
    first = dict(list(items.items())[:11])
    assert fill(pixel_store(tmp_path), first, make, SETTINGS, 2, "pixels") == 11
    assert fill(pixel_store(tmp_path), items, make, SETTINGS, 2, "pixels") == len(items) - 11


def test_a_broken_picture_keeps_its_name_across_ray(items: dict[str, str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"broken\.png"):
        fill(pixel_store(tmp_path), {**items, "0" * 64: str(broken)}, partial(DecodePixels, 32, Preprocess()),
             SETTINGS, 2, "pixels")  # fmt: skip


def test_the_shard_of_an_actor_that_dies_is_computed_again(items: dict[str, str], tmp_path: Path) -> None:
    store = pixel_store(tmp_path)
    assert fill(store, items, partial(DyingOnce, tmp_path / "marker"), SETTINGS, 2, "pixels") == len(items)
    assert (tmp_path / "marker").exists()
    assert store.read(list(items)).shape[0] == len(items)
