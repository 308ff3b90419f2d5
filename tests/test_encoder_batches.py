"""A batch of jobs gives each job the result that it has alone."""

from __future__ import annotations

import numpy as np
import pytest

from cirray.storage.location import Location
from serve.batches import ImageJob, QueryJob, encode_by_bundle, encode_images, encode_queries
from serve.loaded_bundle import Loaded
from tests.support.bundles import write_bundle


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Loaded]:
    """Two bundles with the same towers and other combining functions."""
    folder = tmp_path_factory.mktemp("bundles")
    return [Loaded(Location.parse(write_bundle(folder / f"bundle{seed}", seed)), "cpu") for seed in (0, 1)]


def test_a_mixed_batch_of_queries(bundles: list[Loaded]) -> None:
    images = np.random.default_rng(0).normal(size=(7, bundles[0].info.dim)).astype(np.float32)
    kinds = [("red", None), ("blue", 0.3), (None, None), ("blue", None), ("large", 0.9)]
    jobs = [QueryJob(bundles[row % 2], images[row], text, weight) for row, (text, weight) in enumerate(kinds)]
    jobs.append(QueryJob(bundles[1], None, "a red square", None))
    found = encode_by_bundle(jobs, encode_queries)
    alone = [encode_by_bundle([job], encode_queries)[0] for job in jobs]
    assert len({query.model for query in found}) == 2
    for job, query, expected in zip(jobs, found, alone, strict=True):
        assert query.model == job.bundle.info.name
        np.testing.assert_allclose(query.feature, expected.feature, atol=1e-6)
        assert np.linalg.norm(query.feature) == pytest.approx(1.0, abs=1e-5)
        assert query.text_weight == pytest.approx(expected.text_weight, abs=1e-6)
    assert [found[row].text_weight for row in (1, 2, 4, 5)] == pytest.approx([0.3, None, 0.9, None])
    assert found[0].text_weight is not None


def test_a_batch_of_pictures(bundles: list[Loaded]) -> None:
    size = bundles[0].info.size
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, size, size), dtype=np.uint8)
    jobs = [ImageJob(bundles[row % 2], pixels[row]) for row in range(3)]
    found = encode_by_bundle(jobs, encode_images)
    for job, feature in zip(jobs, found, strict=True):
        np.testing.assert_allclose(feature, encode_images(job.bundle, [job])[0], atol=1e-5)
    assert float(np.abs(found[0] - found[1]).max()) > 1e-3
