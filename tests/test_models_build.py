"""Backbones: the sources of weights, and the errors when they are unavailable."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from cirray.config.backbone import Backbone
from cirray.config.data import Preprocess
from cirray.errors import BackboneError
from cirray.interop.clip4cir.shapes import clip_definition
from cirray.models.build import build_encoder
from cirray.models.clip import Encoder, load_encoder, save_encoder
from cirray.models.encoder_manifest import DEFINITION, WEIGHTS
from cirray.models.local_weights import local_normalization
from tests.support import openai_clip
from tests.support.encoder_fixtures import TINY, make_encoder, noise_pixels, tiny_encoder, write_definition
from tests.support.openai_clip import SMALL_VIT, State, random_state


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


# --- OpenAI's files and the activation function -------------------------------------------------------------------


def scripted(path: Path, state: State) -> str:
    """Writes a TorchScript archive like OpenAI's: half precision, and three numbers beside the weights."""
    root = nn.Module()
    numbers = {name: torch.tensor(48) for name in ("input_resolution", "context_length", "vocab_size")}
    for name, tensor in {**state, **numbers}.items():
        *parents, leaf = name.split(".")
        module = root
        for parent in parents:
            if parent not in dict(module.named_children()):
                module.add_module(parent, nn.Module())
            module = module.get_submodule(parent)
        module.register_buffer(leaf, tensor.half() if tensor.is_floating_point() else tensor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch deprecates what it wrote OpenAI's files with
        torch.jit.script(root).save(path)
    return str(path)


def openai_definition(folder: Path, **changes: object) -> str:
    definition = clip_definition("x", random_state(SMALL_VIT))
    return write_definition(folder, {**definition, **changes}, "openai.json")


@torch.inference_mode()
def test_openais_file_is_read_without_running_it(tmp_path: Path) -> None:
    state = random_state(SMALL_VIT)
    encoder = build(model=openai_definition(tmp_path), weights=scripted(tmp_path / "ViT.pt", state))
    rounded = {name: tensor.half().float() for name, tensor in state.items()}
    pixels, tokens = noise_pixels(2, SMALL_VIT.resolution), encoder.tokenize(["a red dress", ""])
    torch.testing.assert_close(encoder.encode_image(pixels), openai_clip.image_features(rounded, pixels))
    torch.testing.assert_close(encoder.encode_text(tokens), openai_clip.text_features(rounded, tokens))
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_openais_file_of_another_model_is_refused(tmp_path: Path) -> None:
    state = random_state(SMALL_VIT)
    file = scripted(tmp_path / "ViT.pt", {name: tensor for name, tensor in state.items() if name != "ln_final.bias"})
    with pytest.raises(BackboneError, match=r"(?s)ViT\.pt does not load into this backbone.*ln_final\.bias"):
        build(model=openai_definition(tmp_path), weights=file)


def test_openais_file_needs_a_model_with_quickgelu(tmp_path: Path) -> None:
    file = scripted(tmp_path / "ViT-B-32.pt", random_state(SMALL_VIT))
    said = r"ViT-B-32\.pt were trained with QuickGELU \(a TorchScript archive, .*\), but backbone\.model "
    with pytest.raises(BackboneError, match=said + r"ViT-B-32 has GELU: give --backbone\.model ViT-B-32-quickgelu$"):
        build(model="ViT-B-32", weights=file)
    with pytest.raises(
        BackboneError, match=said + r'.*openai\.json has GELU: set "quick_gelu": true in the definition'
    ):
        build(model=openai_definition(tmp_path, quick_gelu=False), weights=file)


@pytest.mark.parametrize(("trained", "model"), [(True, "RN50"), (False, "RN50-quickgelu")])
def test_a_configuration_beside_the_weights_tells_the_activation(trained: bool, model: str, tmp_path: Path) -> None:
    save_encoder(make_encoder({**TINY, "quick_gelu": trained}), tmp_path)
    right = {"RN50": "RN50-quickgelu", "RN50-quickgelu": "RN50"}[model]
    with pytest.raises(BackboneError, match=rf"says open_clip_config\.json beside it.*--backbone\.model {right}$"):
        build(model=model, weights=str(tmp_path / "open_clip_model.safetensors"))


def test_no_code_in_a_torchscript_archive_is_run(model: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("w/constants.pkl", b"")
        archive.writestr("w/data.pkl", pickle.dumps(Exploit(tmp_path / "ran")))
    quick = write_definition(tmp_path, {**TINY, "quick_gelu": True}, "quick.json")
    with pytest.raises(
        BackboneError, match=r"w\.pt does not load into this backbone: it contains \S+, which is not loaded"
    ):
        build(model=quick, weights=str(tmp_path / "w.pt"))
    assert not (tmp_path / "ran").exists()


# --- normalization of the image input -----------------------------------------------------------------------------

HALF = (0.5, 0.5, 0.5)


def test_local_weights_keep_the_normalization_of_the_configuration_beside_them(tmp_path: Path) -> None:
    source = make_encoder()
    source.image_input = replace(source.image_input, mean=HALF, std=HALF)
    save_encoder(source, tmp_path / "encoder")
    found = build(model=write_definition(tmp_path, TINY), weights=str(tmp_path / "encoder" / WEIGHTS))
    assert found.fingerprint("image") == source.fingerprint("image")
    (tmp_path / "encoder" / DEFINITION).unlink()
    found = build(model=write_definition(tmp_path, TINY), weights=str(tmp_path / "encoder" / WEIGHTS))
    assert found.image_input == make_encoder().image_input


def test_local_weights_of_a_published_model_have_its_normalization() -> None:
    assert local_normalization(Backbone(model="ViT-B-16-SigLIP", weights="nowhere/w.pt")) == (HALF, HALF)
    assert local_normalization(Backbone(model="cirray-tiny", weights="nowhere/w.pt")) is None


# --- the model hub, from its cache --------------------------------------------------------------------------------

# What sets SigLIP's towers apart from CLIP's; its tokenizer, which the hub has, aside.
SIGLIP = {
    **TINY,
    "custom_text": True,
    "init_logit_bias": -10,
    "text_cfg": {**TINY["text_cfg"], "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a hub that cannot be reached."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(hub: Path, name: str, encoder: Encoder) -> Path:
    """Puts a repository with an encoder into the cache; returns the folder of its files."""
    folder = hub / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    save_encoder(encoder, folder / "snapshots" / ("0" * 40))
    return folder / "snapshots" / ("0" * 40)


@pytest.mark.parametrize("definition", [TINY, SIGLIP], ids=["CLIP", "SigLIP"])
def test_a_model_of_the_hub(definition: dict[str, Any], hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_encoder(definition, seed=7)
    source.image_input = replace(source.image_input, mean=HALF, std=HALF)
    folder = cached(hub, "shop/clip", source)
    found = build(model="hf-hub:shop/clip")
    assert found.fingerprint("image") == source.fingerprint("image")
    assert found.fingerprint("text") == source.fingerprint("text")
    said = capsys.readouterr().err
    assert "fetching the weights of hf-hub:shop/clip, unless they are cached" in said
    assert f"weights: {(folder / WEIGHTS).stat().st_size / 1e6:.0f} MB in {folder / WEIGHTS}" in said


def test_a_model_that_the_hub_does_not_give(hub: Path) -> None:
    with pytest.raises(
        BackboneError, match=r"cannot read open_clip_config\.json of hf-hub:shop/clip.*HF_HOME.*NAME"
    ) as e:
        build(model="hf-hub:shop/clip")
    assert str(e.value).endswith(
        "give a model name and a local file with --backbone.model NAME --backbone.weights FILE"
    )
    (cached(hub, "shop/clip", tiny_encoder()) / WEIGHTS).unlink()
    with pytest.raises(BackboneError, match=r"cannot load the weights of hf-hub:shop/clip: .*HF_HOME"):
        build(model="hf-hub:shop/clip")
    with pytest.raises(
        ValidationError, match="hf-hub:shop/clip brings its own weights: set pretrained and weights to null"
    ):
        build(model="hf-hub:shop/clip", pretrained="openai")


def test_a_published_tag_from_the_cache(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_encoder({**TINY, "quick_gelu": True}, seed=7)
    folder = cached(hub, "shop/tagged", source)
    write_definition(tmp_path, TINY, "shop-tiny.json")
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {"shop-tiny": TINY})
    tag = {"hf_hub": "shop/tagged/", "quick_gelu": True}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "shop-tiny", {"openai": tag})
    found = build(model="shop-tiny", pretrained="openai")
    assert found.fingerprint("image") == source.fingerprint("image")
    said = capsys.readouterr().err
    assert "fetching the 'openai' weights of shop-tiny, unless they are cached" in said
    assert f"MB in {folder / WEIGHTS}" in said


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="transformers is installed")
def test_a_tokenizer_of_the_hub_names_the_package_it_needs(hub: Path) -> None:
    folder = cached(hub, "shop/siglip", tiny_encoder())
    config = json.loads((folder / DEFINITION).read_text(encoding="utf-8"))
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "shop/siglip"
    (folder / DEFINITION).write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(
        BackboneError, match="hf-hub:shop/siglip needs the package transformers: pip install transformers"
    ):
        build(model="hf-hub:shop/siglip")


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
    assert "A local file of these weights needs --backbone.model RN50-quickgelu. Run once" in last
    assert last.endswith("or give a local file with --backbone.pretrained null --backbone.weights FILE")
    assert "During handling" not in done.stderr
