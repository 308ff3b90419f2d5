"""Model bundles: loading gives the trained model, or an error with its cause."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import cirray
from cirray.config.data import Preprocess
from cirray.config.registry import COMBINING_FUNCTIONS
from cirray.config.training import CombiningSettings
from cirray.data.images import PictureError, open_rgb, pixels
from cirray.errors import BundleError
from cirray.models import bundle
from cirray.models.clip import Encoder, save_encoder
from cirray.models.combining import build_combining
from cirray.models.combining.sum import Sum
from tests.support.bundles import fine_tuned, write_bundle
from tests.support.data_fixtures import write_picture
from tests.support.encoder_fixtures import TINY, make_encoder, tiny_encoder

SETTINGS = CombiningSettings(projection=24, hidden=40)
TEXTS = ["is red and longer", "has dots"]


def combining(settings: CombiningSettings = SETTINGS, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_combining(32, settings)


def write(folder: Path, settings: CombiningSettings = SETTINGS, encoder: Encoder | None = None) -> Path:
    save_encoder(encoder or tiny_encoder(), folder.with_name("source"))
    details = {"recipe": "test", "fine_tuned": True}
    bundle.save(folder, folder.with_name("source"), combining(settings), settings, details)
    shutil.rmtree(folder.with_name("source"))  # the bundle is rebuilt from itself alone
    return folder


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return write(tmp_path / "bundle")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    return [write_picture(tmp_path / "a.png", 1, (40, 20)), write_picture(tmp_path / "b.png", 2, (31, 50))]


@torch.inference_mode()
def raw_images(encoder: Encoder, paths: list[Path]) -> Tensor:
    decoded = [pixels(open_rgb(path, encoder.preprocess.background), 32, encoder.preprocess) for path in paths]
    return torch.cat([encoder.encode_image(torch.from_numpy(rows).unsqueeze(0)) for rows in decoded])


@torch.inference_mode()
def raw_texts(encoder: Encoder) -> Tensor:
    return torch.cat([encoder.clip.encode_text(encoder.tokenize([text])) for text in TEXTS])


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


FUNCTIONS = {name: CombiningSettings(function=name, projection=24, hidden=40) for name in COMBINING_FUNCTIONS}


@pytest.mark.parametrize("settings", FUNCTIONS.values(), ids=FUNCTIONS)
@torch.inference_mode()
def test_a_loaded_model_is_its_parts(settings: CombiningSettings, pictures: list[Path], tmp_path: Path) -> None:
    model = cirray.load(write(tmp_path / "bundle", settings))
    image, text = raw_images(tiny_encoder(), pictures), raw_texts(tiny_encoder())
    assert_close(model.encode_image(pictures), F.normalize(image, dim=1))
    assert_close(model.encode_image(pictures, normalize=False), image)
    assert_close(model.encode_text(TEXTS), F.normalize(text, dim=1))
    assert_close(model.encode_text(TEXTS, normalize=False), text)
    by_hand = (
        F.normalize(image + text, dim=1) if settings.function == "sum" else combining(settings).eval()(image, text)
    )
    assert_close(model.encode_query(pictures, TEXTS), by_hand)
    assert_close(model.encode_query([str(path) for path in pictures], TEXTS), by_hand)
    assert_close(model.encode_query([Image.open(path) for path in pictures], TEXTS), by_hand)
    assert_close(model.encode_query(image, TEXTS), by_hand)
    assert_close(model.encode_query(pictures[0], TEXTS[0]), by_hand[:1])
    assert_close(model.encode_query(str(pictures[1]), TEXTS[1]), by_hand[1:])
    assert_close(model.encode_query(image[0], TEXTS[0]), by_hand[:1])
    assert_close(model.encode_query(pictures, TEXTS).norm(dim=1), torch.ones(2))
    assert (tmp_path / "bundle" / bundle.COMBINING).exists() == (settings.function != "sum")


@torch.inference_mode()
def test_a_moved_bundle_and_other_preprocessing(pictures: list[Path], tmp_path: Path) -> None:
    encoder = make_encoder(seed=3, preprocess=Preprocess(pad="square", background="black"))
    write(tmp_path / "bundle", encoder=encoder).rename(tmp_path / "moved")
    model = cirray.load(str(tmp_path / "moved"))
    assert_close(model.encode_image(pictures, normalize=False), raw_images(encoder, pictures))
    clear = Image.new("RGBA", (20, 40), (200, 100, 50, 128))
    clear.save(tmp_path / "clear.png")
    expected = raw_images(encoder, [tmp_path / "clear.png"])
    assert_close(model.encode_image(tmp_path / "clear.png", normalize=False), expected)
    assert_close(model.encode_image(clear, normalize=False), expected)


def test_the_manifest_describes_the_bundle(saved: Path) -> None:
    manifest = cirray.load(saved).manifest
    assert manifest == json.loads((saved / "model.json").read_text(encoding="utf-8"))
    assert manifest["recipe"] == "test"
    assert manifest["dim"] == 32
    assert manifest["combining"]["function"] == "combiner"
    assert manifest["image_fingerprint"] == tiny_encoder().fingerprint("image")
    assert manifest["text_fingerprint"] == tiny_encoder().fingerprint("text")


def test_a_model_does_not_drop_out(saved: Path, pictures: list[Path]) -> None:
    model = cirray.load(saved)
    assert not any(module.training for part in (model.encoder, model.combining) for module in part.modules())
    assert torch.equal(model.encode_query(pictures, TEXTS), model.encode_query(pictures, TEXTS))


def test_a_count_that_does_not_match(saved: Path, pictures: list[Path]) -> None:
    model = cirray.load(saved)
    with pytest.raises(ValueError, match="2 images and 1 sentences: give one sentence per image"):
        model.encode_query(pictures, "is red")
    with pytest.raises(ValueError, match="1 images and 2 sentences"):
        model.encode_query(torch.ones(1, 32), TEXTS)


@pytest.fixture
def two_towers(tmp_path: Path) -> Path:
    """A bundle whose text tower was fine-tuned from the tiny encoder's."""
    return write_bundle(tmp_path / "two", 0, SETTINGS, fine_tuned(tiny_encoder()), tiny_encoder())


@torch.inference_mode()
def test_texts_alone_use_the_text_tower_from_before_stage_1(two_towers: Path, pictures: list[Path]) -> None:
    model = cirray.load(two_towers)
    start, trained = raw_texts(tiny_encoder()), raw_texts(fine_tuned(tiny_encoder()))
    assert (F.normalize(start, dim=1) - F.normalize(trained, dim=1)).abs().max() > 0.01
    assert_close(model.encode_text(TEXTS, normalize=False), start)
    assert_close(model.encode_text(TEXTS), F.normalize(start, dim=1))
    assert_close(model.encode_caption(TEXTS, normalize=False), trained)
    assert_close(model.encode_caption(TEXTS[0]), F.normalize(trained[:1], dim=1))
    image = raw_images(tiny_encoder(), pictures)
    assert_close(model.encode_query(pictures, TEXTS), combining().eval()(image, trained))
    assert model.manifest["text_fingerprint"] == fine_tuned(tiny_encoder()).fingerprint("text")
    assert model.manifest["pretrained_text_fingerprint"] == tiny_encoder().fingerprint("text")


def test_what_the_two_text_towers_share_is_stored_and_loaded_once(two_towers: Path) -> None:
    """The image tower and the token embedding, which is most of a small text tower."""
    stored = load_file(two_towers / bundle.PRETRAINED_TEXT)
    changed = {name for name, _ in tiny_encoder().tower_parameters("text")} - {"token_embedding.weight"}
    assert stored.keys() == changed
    model = cirray.load(two_towers)
    trained, start = (dict(encoder.clip.named_parameters()) for encoder in (model.encoder, model.pretrained))
    assert trained.keys() == start.keys()
    apart = {name for name in trained if trained[name].data_ptr() != start[name].data_ptr()}
    assert apart == changed
    assert model.pretrained.clip.visual is model.encoder.clip.visual


def test_a_bundle_with_one_text_tower(saved: Path, tmp_path: Path) -> None:
    """Without stage 1, of an earlier version, or when stage 1 changed the image tower only."""
    same = write_bundle(tmp_path / "same", 0, SETTINGS, tiny_encoder(), tiny_encoder())
    for folder in (saved, same):
        model = cirray.load(folder)
        assert model.pretrained is model.encoder
        assert "pretrained_text_fingerprint" not in model.manifest
        assert not (folder / bundle.PRETRAINED_TEXT).exists()


def test_a_replaced_bundle_keeps_no_text_tower_of_the_one_before(two_towers: Path) -> None:
    write(two_towers)
    assert not (two_towers / bundle.PRETRAINED_TEXT).exists()
    model = cirray.load(two_towers)
    assert_close(model.encode_text(TEXTS, normalize=False), raw_texts(tiny_encoder()))


def test_a_wrong_text_tower_is_refused(two_towers: Path) -> None:
    file = two_towers / bundle.PRETRAINED_TEXT
    tensors = load_file(file)
    save_file({**tensors, "ln_final.bias": tensors["ln_final.bias"] + 0.01}, file)
    refused(two_towers, r"pretrained_text\.safetensors does not match its fingerprint in model\.json: train or copy")
    save_file({**tensors, "ln_final.bias": torch.zeros(7)}, file)
    refused(two_towers, r"(?s)pretrained_text\.safetensors does not match model\.json.*size mismatch for ln_final")
    save_file({**tensors, "visual.proj": torch.zeros(7)}, file)
    refused(two_towers, r"does not match model\.json: the text tower has no tensor visual\.proj")
    file.write_bytes(file.read_bytes()[:100])
    refused(two_towers, r"pretrained_text\.safetensors does not match model\.json")
    file.unlink()
    refused(
        two_towers, r"pretrained_text\.safetensors is missing, but model\.json has its fingerprint: copy the bundle"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [({"layers": 3}, "have different tensors"), ({"context_length": 70}, r"positional_embedding has shape \[77, 32\]")],
)
def test_a_start_with_another_text_tower_is_refused(change: dict[str, int], message: str, tmp_path: Path) -> None:
    other = make_encoder({**TINY, "text_cfg": {**TINY["text_cfg"], **change}})
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path / "bundle", encoder=tiny_encoder(), pretrained=other)
    assert not (tmp_path / "bundle").exists()


def test_a_missing_picture_is_named(saved: Path) -> None:
    with pytest.raises(PictureError, match=r"nowhere\.png: does not exist"):
        cirray.load(saved).encode_query("nowhere.png", "is red")


def refused(folder: Path, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        cirray.load(folder)


def test_no_manifest_means_incomplete(saved: Path, tmp_path: Path) -> None:
    (saved / "model.json").unlink()
    refused(
        saved, r"not a complete model bundle \(model\.json is missing\): give the bundle folder of a finished training"
    )
    refused(tmp_path / "nowhere", "not a complete model bundle")


def test_the_manifest_is_written_last(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted replacement leaves an incomplete bundle, never a mix of old and new."""

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        write(saved)
    refused(saved, "not a complete model bundle")


def test_a_bundle_may_be_replaced(saved: Path, pictures: list[Path]) -> None:
    write(saved, CombiningSettings(function="sum"), make_encoder(seed=3))
    assert not (saved / bundle.COMBINING).exists()
    model = cirray.load(saved)
    assert isinstance(model.combining, Sum)
    assert_close(model.encode_image(pictures, normalize=False), raw_images(make_encoder(seed=3), pictures))


def test_missing_combining_weights(saved: Path) -> None:
    (saved / bundle.COMBINING).unlink()
    refused(saved, r"combining\.safetensors is missing, but combiner of model\.json has weights: copy the bundle again")


def test_combining_weights_of_other_shapes(saved: Path) -> None:
    other = combining(CombiningSettings(projection=24, hidden=41))
    save_file(other.state_dict(), saved / bundle.COMBINING)
    refused(saved, r"(?s)combining\.safetensors does not match model\.json.*size mismatch for combiner_layer")


def test_combining_weights_of_another_function(saved: Path) -> None:
    save_file(combining(FUNCTIONS["gated"]).state_dict(), saved / bundle.COMBINING)
    refused(saved, r"combining\.safetensors does not match model\.json")


@pytest.mark.parametrize("size", [0, 50, 3000])
def test_damaged_combining_weights(size: int, saved: Path) -> None:
    path = saved / bundle.COMBINING
    path.write_bytes(path.read_bytes()[:size])
    refused(saved, r"combining\.safetensors does not match model\.json")


@pytest.mark.parametrize("tower", ["visual.", "transformer."])
def test_tampered_encoder_weights(tower: str, saved: Path) -> None:
    path = saved / "encoder" / "open_clip_model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    name = next(name for name in tensors if name.startswith(tower))
    tensors[name].view(-1)[0] += 0.01
    save_file(tensors, path)
    refused(saved, r"encoder does not match the fingerprints in model\.json: train or copy the bundle again")


@pytest.mark.parametrize("name", ["encoder.json", "open_clip_config.json", "open_clip_model.safetensors"])
def test_an_incomplete_encoder(name: str, saved: Path) -> None:
    (saved / "encoder" / name).unlink()
    refused(saved, f"{name} is missing")


def test_an_unsupported_format(saved: Path) -> None:
    manifest = json.loads((saved / "model.json").read_text(encoding="utf-8"))
    (saved / "model.json").write_text(json.dumps({**manifest, "format": 2}), encoding="utf-8")
    refused(saved, "format 2 is not supported; this version reads format 1")
