"""The encoder: saving and loading, and fingerprints of everything that determines its features."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cirray.config.data import Preprocess
from cirray.errors import BundleError
from cirray.models.clip import Encoder, load_encoder, load_trained, save_encoder
from cirray.models.encoder_manifest import DEFINITION, MANIFEST, WEIGHTS, read_manifest
from tests.support.encoder_fixtures import TINY, make_encoder, noise_pixels, tiny_encoder, tiny_resnet

CAPTIONS = ["is red", "has long sleeves and a much lower neckline", ""]
BUILDERS = {"vit": tiny_encoder, "resnet": tiny_resnet}


@pytest.fixture(scope="module", params=list(BUILDERS))
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return BUILDERS[request.param]()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_encoder(tiny_encoder(), tmp_path / "encoder")
    return tmp_path / "encoder"


def prints(encoder: Encoder) -> tuple[str, str]:
    return encoder.fingerprint("image"), encoder.fingerprint("text")


def nudge(parameter: torch.Tensor) -> None:
    with torch.no_grad():
        parameter.view(-1)[0] += 0.125


@torch.inference_mode()
def test_saved_and_rebuilt_the_same(encoder: Encoder, tmp_path: Path) -> None:
    save_encoder(encoder, tmp_path)
    again = load_encoder(tmp_path)
    pixels, tokens = noise_pixels(3), encoder.tokenize(CAPTIONS)
    assert torch.equal(again.tokenize(CAPTIONS), tokens)
    # not bit by bit: mapped weights lie otherwise in memory, which may round otherwise
    torch.testing.assert_close(again.encode_image(pixels), encoder.encode_image(pixels), atol=1e-5, rtol=0)
    torch.testing.assert_close(again.encode_text(tokens), encoder.encode_text(tokens), atol=1e-5, rtol=0)
    assert prints(again) == prints(encoder)
    manifest = read_manifest(tmp_path)
    assert (manifest["image_fingerprint"], manifest["text_fingerprint"]) == prints(encoder)
    assert (again.image_input, again.preprocess, again.dim) == (encoder.image_input, encoder.preprocess, encoder.dim)


def test_preprocessing_is_kept(tmp_path: Path) -> None:
    preprocess = Preprocess(pad="square", ratio=1.5, background="black")
    save_encoder(make_encoder(preprocess=preprocess), tmp_path)
    assert load_encoder(tmp_path).preprocess == preprocess


def test_a_rebuilt_encoder_owns_its_weights(saved: Path) -> None:
    shutil.move(saved, saved.with_name("moved"))
    encoder = load_encoder(saved.with_name("moved"))
    shutil.rmtree(saved.with_name("moved"))
    assert prints(encoder) == prints(tiny_encoder())


@pytest.mark.parametrize("name", [MANIFEST, DEFINITION, WEIGHTS])
def test_an_incomplete_folder_is_refused(name: str, saved: Path) -> None:
    (saved / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load_encoder(saved)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a complete encoder folder"):
        read_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize("damage", ["truncated", "empty", "other shapes"])
def test_damaged_weights_are_refused(damage: str, saved: Path) -> None:
    path = saved / WEIGHTS
    if damage == "other shapes":
        wider = make_encoder({**TINY, "embed_dim": 16})
        save_encoder(wider, saved.with_name("other"))
        shutil.copy(saved.with_name("other") / WEIGHTS, path)
    else:
        path.write_bytes(path.read_bytes()[: 1000 if damage == "truncated" else 0])
    with pytest.raises(BundleError, match="does not load"):
        load_encoder(saved)


def test_the_manifest_is_written_last(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cirray.models.clip.save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        save_encoder(make_encoder(seed=1), saved)
    with pytest.raises(BundleError, match="is missing"):  # neither old nor new: the old manifest went first
        load_encoder(saved)


def test_weights_are_safetensors_of_open_clips_names(saved: Path) -> None:
    assert set(load_file(saved / WEIGHTS)) == set(tiny_encoder().clip.state_dict())
    assert json.loads((saved / DEFINITION).read_text(encoding="utf-8"))["model_cfg"] == TINY


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_each_fingerprint_is_that_of_its_tower(build: object) -> None:
    definition = (tiny_resnet if build is tiny_resnet else tiny_encoder)().definition
    encoder = make_encoder(definition)
    image, text = prints(encoder)
    assert image != text
    assert prints(make_encoder(definition)) == (image, text)
    nudge(encoder.clip.logit_scale)
    assert prints(encoder) == (image, text)
    for name, parameter in encoder.clip.named_parameters():
        if name == "logit_scale":
            continue
        before = prints(encoder)
        nudge(parameter)
        changed = tuple(now != then for now, then in zip(prints(encoder), before, strict=True))
        assert changed == ((True, False) if name.startswith("visual.") else (False, True)), name


def test_batch_norm_statistics_are_in_the_fingerprint() -> None:
    encoder = make_encoder(tiny_resnet().definition)
    image, text = prints(encoder)
    nudge(encoder.clip.visual.bn1.running_mean)
    now = prints(encoder)
    assert now[0] != image
    assert now[1] == text


@pytest.mark.parametrize("change", [{"pad": "square"}, {"ratio": 1.3}, {"background": "black"}])
def test_preprocessing_is_in_the_image_fingerprint_only(change: dict[str, object]) -> None:
    other = make_encoder(preprocess=Preprocess.model_validate(change))
    image, text = prints(tiny_encoder())
    assert other.fingerprint("image") != image
    assert other.fingerprint("text") == text


def test_the_architecture_is_in_the_fingerprints() -> None:
    """The same weights with another activation give other features in both towers."""
    quick = make_encoder({**TINY, "quick_gelu": True})
    assert torch.equal(quick.clip.visual.proj, tiny_encoder().clip.visual.proj)
    assert all(now != then for now, then in zip(prints(quick), prints(tiny_encoder()), strict=True))


def test_towers_share_no_parameter_and_leave_only_the_temperature(encoder: Encoder) -> None:
    image = {id(parameter) for _, parameter in encoder.tower_parameters("image")}
    text = {id(parameter) for _, parameter in encoder.tower_parameters("text")}
    everything = {id(parameter): name for name, parameter in encoder.clip.named_parameters()}
    assert not image & text
    assert {everything[i] for i in everything.keys() - image - text} == {"logit_scale"}
    assert image == {id(parameter) for parameter in encoder.clip.visual.parameters()}


def test_stays_in_eval_mode(encoder: Encoder) -> None:
    encoder.train()
    nn.Sequential(encoder).train()
    assert not any(module.training for module in encoder.modules())


def test_batch_norm_statistics_stay_frozen() -> None:
    encoder = make_encoder(tiny_resnet().definition)
    before = encoder.clip.visual.bn1.running_mean.clone()
    encoder.train()
    encoder.encode_image(noise_pixels(4)).sum().backward()
    assert torch.equal(encoder.clip.visual.bn1.running_mean, before)
    assert encoder.has_batch_norm()
    assert not tiny_encoder().has_batch_norm()


@torch.inference_mode()
def test_encode_image_normalises_pixels_as_clip_does(encoder: Encoder) -> None:
    pixels = noise_pixels(3, seed=5)
    mean = (0.48145466, 0.4578275, 0.40821073)
    std = (0.26862954, 0.26130258, 0.27577711)
    scaled = torch.stack([(pixels[:, c].double() / 255 - mean[c]) / std[c] for c in range(3)], dim=1).float()
    expected = encoder.clip.visual(scaled)
    torch.testing.assert_close(encoder.encode_image(pixels), expected, atol=1e-5, rtol=1e-5)
    assert encoder.encode_image(pixels).shape == (3, encoder.dim)


@torch.inference_mode()
def test_normalize(encoder: Encoder) -> None:
    pixels, tokens = noise_pixels(3), encoder.tokenize(CAPTIONS)
    for raw, unit in (
        (encoder.encode_image(pixels), encoder.encode_image(pixels, normalize=True)),
        (encoder.encode_text(tokens), encoder.encode_text(tokens, normalize=True)),
    ):
        torch.testing.assert_close(unit, raw / raw.norm(dim=1, keepdim=True))
        assert not torch.allclose(raw.norm(dim=1), torch.ones(3), atol=1e-3)


@pytest.mark.parametrize("blend", [1.0, 0.5, 0.25])
def test_trained_tensors_are_blended_with_the_start(blend: float) -> None:
    encoder, start, trained = tiny_encoder(), tiny_encoder().clip.state_dict(), tiny_encoder()
    for _, parameter in trained.tower_parameters("text"):
        nudge(parameter)
    tensors = {f"clip.{name}": tensor for name, tensor in trained.tower_parameters("text")}
    load_trained(encoder, {**tensors, "temperature.logarithm": torch.tensor(3.0)}, blend)
    for name, tensor in encoder.clip.state_dict().items():
        towards = tensors.get(f"clip.{name}", start[name])
        assert torch.allclose(tensor, start[name] * (1 - blend) + towards * blend, atol=1e-7), name
        if blend == 1.0:
            assert tensor.equal(towards), name
