"""Title -> image recall: texts alone as queries, scored with the text tower from before stage 1."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import cirray
from cirray.evaluation.titles import title_recall
from cirray.models.bundle import Model
from tests.support.bundles import fine_tuned, write_bundle
from tests.support.encoder_fixtures import tiny_encoder

COUNT = 300  # more than one batch of texts
TITLES = {f"i{number}": f"a red dress number {number}" for number in range(COUNT) if number % 3}


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return cirray.load(write_bundle(tmp_path / "b", encoder=fine_tuned(tiny_encoder()), pretrained=tiny_encoder()))


@torch.inference_mode()
def test_titles_are_encoded_with_the_start(model: Model) -> None:
    """Images that are where the start's text tower puts their titles are all found; the fine-tuned one finds few."""
    images = [f"i{number}" for number in range(COUNT)]
    encoder = tiny_encoder()
    gallery = encoder.encode_text(encoder.tokenize([TITLES.get(image, "blue") for image in images]), normalize=True)
    assert title_recall(model, images, gallery, TITLES) == {"R@1": 100.0, "R@10": 100.0}
    one_tower = Model(model.encoder, model.encoder, model.combining, model.manifest, model.path)
    assert title_recall(one_tower, images, gallery, TITLES)["R@1"] < 50.0


@torch.inference_mode()
def test_recall_counts_the_titles_of_the_gallery_only(model: Model) -> None:
    titles = {"a": "one red dress", "b": "two dots", "elsewhere": "no query"}
    a, b = model.encode_text([titles["a"], titles["b"]])
    gallery = F.normalize(torch.stack([a, a + 0.9 * b, b, b + 0.9 * a]), dim=1)
    # each title finds its own image, or the one in between, first
    assert title_recall(model, ["a", "x", "b", "y"], gallery, titles) == {"R@1": 100.0, "R@10": 100.0}
    assert title_recall(model, ["x", "a", "b", "y"], gallery, titles) == {"R@1": 50.0, "R@10": 100.0}
