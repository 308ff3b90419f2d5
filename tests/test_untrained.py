"""A bundle without training: from a published or local CLIP to something that the index and the service take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import ExifTags, Image
from safetensors.torch import save_file

import cirray
import jobs.bundle
from cirray.errors import ConfigError
from cirray.models.combining.sum import Sum
from cirray.storage.location import Location
from serve.loaded_bundle import Loaded
from tests.support.data_fixtures import write_picture
from tests.support.encoder_fixtures import TINY, make_encoder, write_definition


@pytest.fixture
def weights(tmp_path: Path) -> str:
    state = make_encoder(seed=7).clip.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "w.safetensors")
    return str(tmp_path / "w.safetensors")


def test_the_job_writes_a_bundle_of_local_weights(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, place = write_definition(tmp_path, TINY), str(tmp_path / "bundle")
    jobs.bundle.run(["--backbone.model", model, "--backbone.weights", weights, "--output", place])
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert (found["bundle"], found["backbone"], found["weights"]) == (place, model, weights)
    assert (found["dim"], found["image_size"], found["combining"]) == (32, 32, "sum")
    assert f"next: python jobs/index.py --bundle {place} --catalog CATALOG" in printed.err
    loaded = cirray.load(place)
    source = make_encoder(seed=7)
    assert isinstance(loaded.combining, Sum) and loaded.pretrained is loaded.encoder
    assert loaded.manifest["fine_tuned"] is False
    assert loaded.manifest["image_fingerprint"] == source.fingerprint("image")
    assert loaded.manifest["text_fingerprint"] == source.fingerprint("text")
    assert Loaded(Location.parse(place), "cpu").info.backbone == model
    picture = write_picture(tmp_path / "a.png", 1, (40, 20))
    image, text = loaded.encode_image(picture, normalize=False), loaded.encode_text("red", normalize=False)
    expected = torch.nn.functional.normalize(image + text, dim=1)
    torch.testing.assert_close(loaded.encode_query(picture, "red"), expected)


def test_pictures_are_turned_as_their_exif_says(weights: str, tmp_path: Path) -> None:
    """Phones store the orientation there, so that a picture read without it lies on its side."""
    model, place = write_definition(tmp_path, TINY), str(tmp_path / "bundle")
    jobs.bundle.run(["--backbone.model", model, "--backbone.weights", weights, "--output", place])
    upright = Image.open(write_picture(tmp_path / "upright.png", 1, (40, 20)))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned by 90 degrees, clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.png", exif=exif)
    features = cirray.load(place).encode_image([tmp_path / "upright.png", tmp_path / "phone.png"])
    torch.testing.assert_close(features[1], features[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backbone.pretrained", "openai"), "--output DIR is missing"),
        (
            ("--output", "x"),
            "no weights of RN50 are named, and with random ones search finds nothing: give --backbone.p",
        ),
        (("--output", "x", "--backbone.weigths", "y"), "Did you mean --backbone.weights?"),
        (("--output", "x", "--seed", "1"), "--seed"),
    ],
)
def test_the_job_refuses(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        jobs.bundle.run(arguments)
    assert message in str(caught.value)
    assert not Path("x").exists()
