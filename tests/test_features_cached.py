"""A feature from the store is the feature that the encoder gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cirray.config.data import Preprocess
from cirray.data.images import PictureError, open_rgb, pixels
from cirray.features.embed import DecodePixels, Embed, EmbedImages, EmbedTexts, pixels_fingerprint, text_key
from cirray.features.store import FeatureStore
from cirray.models.clip import Encoder, load_encoder, save_encoder
from cirray.storage.location import Location
from tests.support.data_fixtures import write_picture
from tests.support.encoder_fixtures import make_encoder, tiny_encoder, tiny_resnet

CAPTIONS = [
    "is red",
    "",
    "has long sleeves, and a much lower neckline than the other one",
    "is red and blue",
    "x" * 400,
]
SIZES = [(12, 9), (50, 20), (20, 50), (32, 32), (33, 31), (7, 40)]


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    files = [write_picture(tmp_path / f"p{i}.png", i, size) for i, size in enumerate(SIZES)]
    Image.new("RGBA", (20, 30), (255, 0, 0, 90)).save(tmp_path / "clear.png")
    return [str(path) for path in [*files, tmp_path / "clear.png"]]


@pytest.fixture(params=["vit", "resnet"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    save_encoder(tiny_encoder() if request.param == "vit" else tiny_resnet(), tmp_path / "encoder")
    return tmp_path / "encoder"


def through_the_store(root: Path, embed: Embed, payloads: list[str], batch: int) -> torch.Tensor:
    """Computes rows in batches, writes a shard a batch, and reads them back through another reader."""
    location = Location.parse(root / f"batch{batch}")
    store = FeatureStore(location, "image", "0" * 64)
    for start in range(0, len(payloads), batch):
        part = payloads[start : start + batch]
        store.write([text_key(payload) for payload in part], embed(part))
    return FeatureStore(location, "image", "0" * 64).read([text_key(payload) for payload in payloads])


@torch.inference_mode()
def direct_image(encoder: Encoder, path: str) -> torch.Tensor:
    decoded = pixels(open_rgb(Path(path), encoder.preprocess.background), 32, encoder.preprocess)
    return encoder.encode_image(torch.from_numpy(decoded).unsqueeze(0))[0]


def test_image_features(folder: Path, pictures: list[str], tmp_path: Path) -> None:
    found = through_the_store(tmp_path, EmbedImages(Location.parse(folder), "cpu"), pictures, len(pictures))
    encoder = load_encoder(folder)
    assert found.dtype == torch.float32
    expected = torch.stack([direct_image(encoder, path) for path in pictures])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert float((found[0] - found[1]).abs().max()) > 1e-3
    for batch in (1, 3):  # how many pictures go through together does not matter
        other = through_the_store(tmp_path, EmbedImages(Location.parse(folder), "cpu"), pictures, batch)
        torch.testing.assert_close(other, found, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_text_features(folder: Path, tmp_path: Path) -> None:
    found = through_the_store(tmp_path, EmbedTexts(Location.parse(folder), "cpu"), CAPTIONS, len(CAPTIONS))
    encoder = load_encoder(folder)
    expected = torch.cat([encoder.clip.encode_text(encoder.tokenize([caption])) for caption in CAPTIONS])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for batch in (1, 2):
        other = through_the_store(tmp_path, EmbedTexts(Location.parse(folder), "cpu"), CAPTIONS, batch)
        torch.testing.assert_close(other, found, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "preprocess", [Preprocess(), Preprocess(pad="square", background="black"), Preprocess(pad="none")]
)
def test_stored_pixels_give_the_same_features(preprocess: Preprocess, pictures: list[str], tmp_path: Path) -> None:
    """Stage 1 with a trained image tower starts from stored pixels."""
    encoder = make_encoder(preprocess=preprocess)
    save_encoder(encoder, tmp_path / "encoder")
    stored = through_the_store(tmp_path, DecodePixels(32, preprocess), pictures, 3)
    assert stored.dtype == torch.uint8
    assert stored.shape == (len(pictures), 3, 32, 32)
    with torch.inference_mode():
        found = encoder.encode_image(stored)
    expected = torch.from_numpy(EmbedImages(Location.parse(tmp_path / "encoder"), "cpu")(pictures))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_encoders_preprocessing_is_used(pictures: list[str], tmp_path: Path) -> None:
    found = []
    for preprocess in (Preprocess(), Preprocess(pad="none")):
        save_encoder(make_encoder(preprocess=preprocess), tmp_path / preprocess.pad)
        found.append(EmbedImages(Location.parse(tmp_path / preprocess.pad), "cpu")(pictures))
    long, square = 1, 3
    assert float(np.abs(found[0][long] - found[1][long]).max()) > 0.01
    np.testing.assert_allclose(found[0][square], found[1][square], atol=1e-5)


def test_a_broken_picture_is_named(folder: Path, pictures: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(pictures[0]).read_bytes()[:60])
    with pytest.raises(PictureError, match=r"broken\.png"):
        EmbedImages(Location.parse(folder), "cpu")([pictures[1], str(broken), pictures[2]])


def test_keys_and_fingerprints() -> None:
    assert text_key("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"  # SHA-256 of "a"
    assert text_key("é") != text_key("e")
    prints = {
        pixels_fingerprint(size, preprocess)
        for size in (32, 64)
        for preprocess in (
            Preprocess(),
            Preprocess(pad="square"),
            Preprocess(ratio=1.3),
            Preprocess(background="black"),
        )
    }
    assert len(prints) == 8
    assert pixels_fingerprint(32, Preprocess()) == pixels_fingerprint(32, Preprocess(pad="target", ratio=1.25))
