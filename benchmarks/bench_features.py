"""Time saved by the feature store and by ranking without sorting: python benchmarks/bench_features.py"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cirray.config.backbone import Backbone
from cirray.config.data import Preprocess
from cirray.evaluation.ranking import target_ranks
from cirray.features.embed import EmbedImages
from cirray.features.store import FeatureStore
from cirray.models.build import build_encoder
from cirray.models.clip import save_encoder
from cirray.storage.location import Location

PICTURES, QUERIES, GALLERY, DIM = 64, 2000, 6000, 640


def seconds(step: Callable[[], object]) -> float:
    """Returns the minimum time of three runs."""
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        step()
        taken.append(time.perf_counter() - started)
    return min(taken)


def cached_features(folder: Path) -> float:
    """Returns time(decode and encode) / time(read from the store) for the same pictures, with RN50."""
    save_encoder(build_encoder(Backbone(model="RN50"), Preprocess(), 0), folder / "encoder")
    random = np.random.default_rng(0)
    paths = [str(folder / f"{row}.jpg") for row in range(PICTURES)]
    for path in paths:
        Image.fromarray(random.integers(0, 255, (300, 400, 3), dtype=np.uint8)).save(path)
    embed = EmbedImages(Location.parse(folder / "encoder"), "cpu")
    store = FeatureStore(Location.parse(folder / "store"), "image", "0" * 64)
    store.write(paths, embed(paths))
    return seconds(lambda: embed(paths)) / seconds(lambda: store.read(paths))


def sorting() -> float:
    """Returns time(full argsort, as the reference does) / time(counting) for one FashionIQ-sized category."""
    query, gallery = torch.randn(QUERIES, DIM), torch.randn(GALLERY, DIM)
    target = torch.randint(0, GALLERY, (QUERIES,))

    def sorted_ranks() -> torch.Tensor:
        order = (query @ gallery.T).argsort(dim=1, descending=True)
        return (order == target.unsqueeze(1)).int().argmax(dim=1)

    return seconds(sorted_ranks) / seconds(lambda: target_ranks(query, gallery, target))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        times = cached_features(Path(folder))
    print(f"encoding {PICTURES} pictures takes {times:,.0f} times as long as reading their features")
    times = sorting()
    print(f"ranking {QUERIES:,} queries among {GALLERY:,} by a full sort takes {times:.1f} times as long as counting")
