"""A batch of jobs gives each job the result that it has alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from cirray.models.clip import Encoder
from cirray.storage.location import Location
from serve.batches import ImageJob, QueryJob, encode_by_bundle, encode_images, encode_queries, text_passes
from serve.encoder_types import model_name
from serve.loaded_bundle import Loaded
from tests.support.bundles import fine_tuned, write_bundle
from tests.support.encoder_fixtures import tiny_encoder


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


@pytest.fixture
def two_towers(tmp_path: Path) -> Loaded:
    """A bundle with a fine-tuned text tower and the one from before stage 1."""
    folder = write_bundle(tmp_path / "bundle", encoder=fine_tuned(tiny_encoder()), pretrained=tiny_encoder())
    return Loaded(Location.parse(folder), "cpu")


def test_texts_alone_and_captions_in_one_batch(two_towers: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts alone go through the text tower from before stage 1, captions through the fine-tuned one; a pass each."""
    passes: list[tuple[bool, int]] = []
    model, forward = two_towers.model, Encoder.encode_text

    def counted(encoder: Encoder, tokens: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        passes.append((encoder is model.pretrained, len(tokens)))
        return forward(encoder, tokens, normalize)

    images = np.random.default_rng(0).normal(size=(2, two_towers.info.dim)).astype(np.float32)
    jobs = [
        QueryJob(two_towers, None, "red", None),
        QueryJob(two_towers, images[0], "red", None),
        QueryJob(two_towers, images[1], None, None),
        QueryJob(two_towers, None, "a blue square", None),
        QueryJob(two_towers, images[1], "red", 0.5),
        QueryJob(two_towers, None, "blue", None),
    ]
    monkeypatch.setattr(Encoder, "encode_text", counted)
    found = np.stack([query.feature for query in encode_queries(two_towers, jobs)])
    assert sorted(passes) == [(False, 2), (True, 3)]
    monkeypatch.undo()
    assert (text_passes(jobs), text_passes(jobs[:1]), text_passes(jobs[2:3])) == (2, 1, 0)
    texts = tiny_encoder().encode_text(tiny_encoder().tokenize(["red", "a blue square", "blue"]), normalize=True)
    np.testing.assert_allclose(found[[0, 3, 5]], texts.detach().numpy(), atol=1e-5)
    composed = model.encode_query(torch.from_numpy(images[:1]), "red")
    np.testing.assert_allclose(found[[1]], composed.numpy(), atol=1e-5)


def test_one_text_tower_means_one_pass(bundles: list[Loaded]) -> None:
    image = np.ones(bundles[0].info.dim, dtype=np.float32)
    jobs = [QueryJob(bundle, image_or_none, "red", None) for bundle in bundles for image_or_none in (image, None)]
    assert text_passes(jobs[:2]) == 1
    assert text_passes(jobs) == 2


def test_the_name_of_a_model_covers_both_text_towers(two_towers: Loaded, tmp_path: Path) -> None:
    bundles = {
        "one tower": write_bundle(tmp_path / "one", encoder=fine_tuned(tiny_encoder())),
        "another start": write_bundle(
            tmp_path / "other", encoder=fine_tuned(tiny_encoder()), pretrained=fine_tuned(tiny_encoder(), seed=6)
        ),
    }
    names = {two_towers.info.name, *(Loaded(Location.parse(folder), "cpu").info.name for folder in bundles.values())}
    assert len(names) == 3


def test_the_name_of_an_earlier_model_stays() -> None:
    manifest = {"image_fingerprint": "a", "text_fingerprint": "b"}
    assert model_name(manifest, "c") == hashlib.sha256(b"abc").hexdigest()[:12]


def test_a_batch_of_pictures(bundles: list[Loaded]) -> None:
    size = bundles[0].info.size
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, size, size), dtype=np.uint8)
    jobs = [ImageJob(bundles[row % 2], pixels[row]) for row in range(3)]
    found = encode_by_bundle(jobs, encode_images)
    for job, feature in zip(jobs, found, strict=True):
        np.testing.assert_allclose(feature, encode_images(job.bundle, [job])[0], atol=1e-5)
    assert float(np.abs(found[0] - found[1]).max()) > 1e-3
