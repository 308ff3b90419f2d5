"""Backbones: the sources of weights, and the errors when they are unavailable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cirray.config.backbone import Backbone
from cirray.config.data import Preprocess
from cirray.errors import BackboneError
from cirray.models.build import build_encoder
from cirray.models.clip import Encoder, load_encoder, save_encoder
from tests.support.encoder_fixtures import TINY, make_encoder, noise_pixels, tiny_encoder, write_definition


@pytest.fixture
def model(tmp_path: Path) -> str:
    return write_definition(tmp_path, TINY)


def build(**settings: str | None) -> Encoder:
    return build_encoder(Backbone.model_validate(settings), Preprocess(), 0)


def test_unknown_models() -> None:
    with pytest.raises(BackboneError, match=r"backbone\.model is 'RN51', which open_clip does not have.*list_models"):
        build(model="RN51")
    with pytest.raises(BackboneError, match=r"backbone\.model: the file nowhere\.json does not exist"):
        build(model="nowhere.json")


def test_unknown_tags() -> None:
    with pytest.raises(BackboneError, match=r"backbone\.pretrained is 'opanai', but RN50 has: openai, .*yfcc15m"):
        build(model="RN50", pretrained="opanai")
    with pytest.raises(BackboneError, match=r"cirray-tiny has: none.*set backbone\.weights"):
        build(model="cirray-tiny", pretrained="openai")


def test_missing_weights(model: str, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"backbone\.weights: the file .*w\.pt does not exist"):
        build(model=model, weights=str(tmp_path / "w.pt"))


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>404 Not Found</html>"])
def test_garbage_weights(name: str, content: bytes, model: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BackboneError, match=f"{name} does not load into this backbone"):
        build(model=model, weights=str(tmp_path / name))


def test_weights_of_another_model(model: str, tmp_path: Path) -> None:
    other = make_encoder({**TINY, "embed_dim": 16})
    save_file(
        {name: tensor.contiguous() for name, tensor in other.clip.state_dict().items()}, tmp_path / "w.safetensors"
    )
    with pytest.raises(BackboneError, match="does not load into this backbone"):
        build(model=model, weights=str(tmp_path / "w.safetensors"))


class Exploit:
    """The payload of a hostile checkpoint: unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_no_code_in_weights_is_run(model: str, tmp_path: Path) -> None:
    torch.save({"state_dict": Exploit(tmp_path / "ran")}, tmp_path / "w.pt")
    with pytest.raises(BackboneError, match="does not load"):
        build(model=model, weights=str(tmp_path / "w.pt"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_local_weights_are_loaded(suffix: str, model: str, tmp_path: Path) -> None:
    source = make_encoder(seed=7)
    state = {name: tensor.contiguous() for name, tensor in source.clip.state_dict().items()}
    path = tmp_path / f"w.{suffix}"
    if suffix == "pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    found = build(model=model, weights=str(path))
    assert found.fingerprint("image") == source.fingerprint("image") != tiny_encoder().fingerprint("image")
    assert found.fingerprint("text") == source.fingerprint("text")
    assert torch.equal(found.clip.logit_scale, source.clip.logit_scale)


def test_the_seed_decides_random_weights_and_nothing_else_does(model: str) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = build(model=model)
    assert torch.equal(torch.get_rng_state(), state)  # and it leaves no trace
    torch.manual_seed(2)
    second = build(model=model)
    other = build_encoder(Backbone(model=model), Preprocess(), 1)
    for tower in ("image", "text"):
        assert first.fingerprint(tower) == second.fingerprint(tower) != other.fingerprint(tower)  # type: ignore[arg-type]


def test_the_tiny_backbone(tmp_path: Path) -> None:
    encoder = build(model="cirray-tiny")
    assert (encoder.image_input.size, encoder.dim, encoder.cuts_text) == (64, 128, True)
    assert not encoder.has_batch_norm()
    assert encoder.encode_image(noise_pixels(2, 64)).shape == (2, 128)
    save_encoder(encoder, tmp_path)
    assert load_encoder(tmp_path).fingerprint("text") == encoder.fingerprint("text")


def test_rn50_saves_and_loads_with_its_batch_norm(tmp_path: Path) -> None:
    encoder = build(model="RN50")
    assert (encoder.image_input.size, encoder.dim, encoder.has_batch_norm()) == (224, 1024, True)
    save_encoder(encoder, tmp_path)
    manifest = json.loads((tmp_path / "encoder.json").read_text(encoding="utf-8"))
    again = load_encoder(tmp_path)
    assert again.fingerprint("image") == manifest["image_fingerprint"]


def test_weights_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in a new process: the hub's library reads its settings on import."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    code = (
        "from cirray.models.build import build_encoder\nfrom cirray.config.backbone import Backbone\n"
        "from cirray.config.data import Preprocess\n"
        "build_encoder(Backbone(model='RN50', pretrained='openai'), Preprocess(), 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env=dict(os.environ)
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("cirray.errors.BackboneError: cannot fetch the 'openai' weights of RN50: ")
    assert "Run once with access to the model hub and keep its cache (HF_HOME)" in last
    assert last.endswith("or give a local file with --backbone.pretrained null --backbone.weights FILE")
    assert "During handling" not in done.stderr
