"""CLIP4Cir checkpoints are imported to bundles with the same features, and exported again unchanged."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import cirray
import jobs.convert
from cirray.config.backbone import Backbone
from cirray.config.conversion import ConvertConfig
from cirray.config.recipe import load_recipe
from cirray.config.training import CombiningSettings
from cirray.errors import CheckpointError, ConfigError
from cirray.interop.clip4cir import archive, checkpoint
from cirray.interop.clip4cir.checkpoint import read_checkpoint
from cirray.interop.clip4cir.convert import CLIP_FILE, COMBINER_FILE, export_bundle, import_bundle
from cirray.interop.clip4cir.shapes import PUBLISHED, clip_definition, published_name
from cirray.models.build import build_encoder
from cirray.models.combining.combiner import Combiner
from cirray.models.encoder_manifest import WEIGHTS
from tests.support import openai_clip
from tests.support.bundles import write_bundle
from tests.support.data_fixtures import write_picture
from tests.support.encoder_fixtures import make_encoder, noise_pixels
from tests.support.openai_clip import RN50, RN50X4, SMALL_RN, SMALL_VIT, VIT_B_32, Sizes, State, random_state
from tests.test_parity import of_the_reference

TEXTS = ["is red", "has long sleeves and a much lower neckline", ""]


def combiner_state(dim: int, projection: int = 5, hidden: int = 7, seed: int = 1) -> State:
    torch.manual_seed(seed)
    return Combiner(dim, projection, hidden).state_dict()


def saved(path: Path, part: str, state: State, epoch: int = 11) -> Path:
    torch.save({"epoch": epoch, part: state}, path)
    return path


def imported(folder: Path, clip: State | None, combiner: State | None, **settings: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    return import_bundle(
        saved(folder / "clip.pt", "CLIP", clip) if clip else None,
        saved(folder / "combiner.pt", "Combiner", combiner, 12) if combiner else None,
        load_recipe(ConvertConfig, "clip4cir", {"output": str(folder / "bundle"), **settings}),
    )


def assert_same_direction(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(F.normalize(found, dim=1), F.normalize(expected, dim=1), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.norm(dim=1), expected.norm(dim=1), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def check_round_trip(folder: Path, sizes: Sizes, projection: int, hidden: int) -> dict[str, Any]:
    """Imports, compares features with the oracle, exports, compares every tensor."""
    clip, combiner = random_state(sizes), combiner_state(sizes.dim, projection, hidden)
    found = imported(folder, clip, combiner)
    model = cirray.load(folder / "bundle")
    pixels, tokens = noise_pixels(2, sizes.resolution), model.encoder.tokenize(TEXTS)
    assert_same_direction(model.encoder.encode_image(pixels), openai_clip.image_features(clip, pixels))
    assert_same_direction(model.encoder.encode_text(tokens), openai_clip.text_features(clip, tokens))
    again = export_bundle(str(folder / "bundle"), folder / "back")
    for name, part, state, epoch in ((CLIP_FILE, "CLIP", clip, 11), (COMBINER_FILE, "Combiner", combiner, 12)):
        content = torch.load(folder / "back" / name, weights_only=True)
        assert list(content) == ["epoch", part]
        assert content["epoch"] == epoch
        assert content[part].keys() == state.keys()
        assert all(torch.equal(content[part][key], tensor) for key, tensor in state.items())
    assert sorted(path.name for path in (folder / "back").iterdir()) == sorted([CLIP_FILE, COMBINER_FILE])
    assert (again["projection_dim"], again["hidden_dim"]) == (projection, hidden)
    return {**found, "exported": again}


@pytest.mark.parametrize("sizes", [SMALL_RN, SMALL_VIT], ids=["resnet", "vit"])
def test_round_trip_of_small_models(sizes: Sizes, tmp_path: Path) -> None:
    found = check_round_trip(tmp_path, sizes, 5, 7)
    assert (found["dim"], found["image_size"]) == (24, sizes.resolution)
    assert found["combining"] == {"function": "combiner", "projection": 5, "hidden": 7}
    expected = {"pad": "target", "ratio": 1.25, "background": "white", "convert": "last", "color": "as-stored"}
    assert found["preprocess"] == expected
    assert (found["clip_epoch"], found["combiner_epoch"]) == (11, 12)
    assert "no published OpenAI model has these sizes" in found["notes"][0]
    assert found["exported"]["clip_model_name"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "name", "openai"),
    [(RN50, "RN50-quickgelu", "RN50"), (RN50X4, "RN50x4-quickgelu", "RN50x4")],
    ids=["RN50", "RN50x4"],
)
def test_round_trip_of_the_papers_backbones(sizes: Sizes, name: str, openai: str, tmp_path: Path) -> None:
    """Uses a narrow Combiner, to save memory."""
    found = check_round_trip(tmp_path, sizes, 64, 128)
    assert (found["backbone"], found["dim"], found["image_size"]) == (name, sizes.dim, sizes.resolution)
    assert found["notes"] == []
    assert found["exported"]["clip_model_name"] == openai
    # Training goes on from it as docs/clip4cir.md says.
    start = Backbone(model=name, weights=str(tmp_path / "bundle" / "encoder" / WEIGHTS))
    again = build_encoder(start, load_recipe(ConvertConfig, "clip4cir").preprocess, 0)
    manifest = cirray.load(tmp_path / "bundle").manifest
    assert {f"{tower}_fingerprint": again.fingerprint(tower) for tower in ("image", "text")}.items() <= manifest.items()


def meta_state(sizes: Sizes) -> State:
    return {name: torch.empty(shape, device="meta") for name, shape in openai_clip.shapes(sizes)}


@pytest.mark.parametrize(
    ("sizes", "name"), [(RN50, "RN50"), (RN50X4, "RN50x4"), (VIT_B_32, "ViT-B-32")], ids=["RN50", "RN50x4", "ViT"]
)
def test_backbones_are_inferred_from_shapes(sizes: Sizes, name: str) -> None:
    definition = clip_definition("FILE", meta_state(sizes))
    assert published_name(definition) == f"{name}-quickgelu"
    assert definition["quick_gelu"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_model_is_inferred_from_its_shapes(name: str) -> None:
    with torch.device("meta"):
        state = open_clip.CLIP(**open_clip.get_model_config(name)).state_dict()
    assert published_name(clip_definition("FILE", state)) == name


def test_the_query_features_are_the_combiners(tmp_path: Path) -> None:
    clip, state = random_state(SMALL_VIT), combiner_state(24)
    imported(tmp_path, clip, state)
    model = cirray.load(tmp_path / "bundle")
    combiner = Combiner(24, 5, 7).eval()
    combiner.load_state_dict(state)
    pictures = [write_picture(tmp_path / f"{i}.png", i, (90 + i, 20)) for i in range(2)]
    Image.open(pictures[1]).quantize(16).save(pictures[1])
    with torch.inference_mode():
        fed = [torch.from_numpy(of_the_reference(Image.open(path), SMALL_VIT.resolution).copy()) for path in pictures]
        image = openai_clip.image_features(clip, torch.stack(fed))
        text = openai_clip.text_features(clip, model.encoder.tokenize(TEXTS[:2]))
        expected = combiner(image, text)
    torch.testing.assert_close(model.encode_query(pictures, TEXTS[:2]), expected, atol=1e-5, rtol=0)


def test_without_a_combiner_the_bundle_adds(tmp_path: Path) -> None:
    found = imported(tmp_path, random_state(SMALL_VIT), None)
    assert found["combining"]["function"] == "sum"
    assert cirray.load(tmp_path / "bundle").manifest["fine_tuned"]
    again = export_bundle(str(tmp_path / "bundle"), tmp_path / "back")
    assert again["combining_function"] == "sum"
    assert [path.name for path in (tmp_path / "back").iterdir()] == [CLIP_FILE]


@torch.inference_mode()
@pytest.mark.parametrize("sizes", [SMALL_RN, SMALL_VIT], ids=["resnet", "vit"])
def test_the_clip_that_fine_tuning_started_from_may_be_named(sizes: Sizes, tmp_path: Path) -> None:
    """Texts alone are then encoded with its text tower, captions with the checkpoint's."""
    clip, start = random_state(sizes), random_state(sizes, seed=2)
    start |= {name: tensor for name, tensor in clip.items() if name.startswith("visual.")}
    save_file(start, tmp_path / "start.safetensors")
    imported(tmp_path, clip, combiner_state(24), **{"backbone.weights": str(tmp_path / "start.safetensors")})
    model = cirray.load(tmp_path / "bundle")
    tokens = model.encoder.tokenize(TEXTS)
    assert_same_direction(model.encode_text(TEXTS, normalize=False), openai_clip.text_features(start, tokens))
    assert_same_direction(model.encode_caption(TEXTS, normalize=False), openai_clip.text_features(clip, tokens))
    again = export_bundle(str(tmp_path / "bundle"), tmp_path / "back")
    content = torch.load(again["clip_model_path"], weights_only=True)["CLIP"]
    assert all(torch.equal(content[name], tensor) for name, tensor in clip.items())


def test_a_combiner_on_local_weights(tmp_path: Path) -> None:
    clip = random_state(SMALL_VIT)
    save_file(clip, tmp_path / "openai.safetensors")
    (tmp_path / "openai.json").write_text(json.dumps(clip_definition("x", clip)), encoding="utf-8")
    source = {"model": str(tmp_path / "openai.json"), "weights": str(tmp_path / "openai.safetensors")}
    imported(tmp_path, None, combiner_state(24), **{f"backbone.{name}": value for name, value in source.items()})
    model = cirray.load(tmp_path / "bundle")
    assert model.pretrained is model.encoder and not model.manifest["fine_tuned"]
    with torch.inference_mode():
        expected = openai_clip.text_features(clip, model.encoder.tokenize(TEXTS))
    assert_same_direction(model.encode_text(TEXTS, normalize=False), expected)


def test_other_preprocessing_is_reported_and_kept(tmp_path: Path) -> None:
    imported(tmp_path, random_state(SMALL_VIT), None, **{"preprocess.pad": "square"})
    assert cirray.load(tmp_path / "bundle").encoder.preprocess.pad == "square"
    assert export_bundle(str(tmp_path / "bundle"), tmp_path / "back")["transform"] == "squarepad"


def test_half_precision_and_data_parallel_names(tmp_path: Path) -> None:
    clip, combiner = random_state(SMALL_RN), combiner_state(24)
    half = {f"module.{n}": t.half() if t.is_floating_point() else t for n, t in clip.items()}
    found = imported(tmp_path / "half", half, {f"module.{n}": t for n, t in combiner.items()})
    assert "CLIP: float16 weights were converted to float32" in found["notes"]
    read = read_checkpoint(tmp_path / "half" / "clip.pt", "CLIP").state
    assert {tensor.dtype for tensor in read.values()} == {torch.float32, torch.int64}
    model = cirray.load(tmp_path / "half" / "bundle")
    rounded = {name: tensor.half().float() if tensor.is_floating_point() else tensor for name, tensor in clip.items()}
    pixels = noise_pixels(2, SMALL_RN.resolution)
    with torch.inference_mode():
        assert_same_direction(model.encoder.encode_image(pixels), openai_clip.image_features(rounded, pixels))
    assert {p.dtype for p in model.encoder.parameters()} == {torch.float32}


def test_what_no_feature_depends_on_may_be_missing_or_more(tmp_path: Path) -> None:
    clip = random_state(SMALL_RN)
    bare = {n: t for n, t in clip.items() if n != "logit_scale" and not n.endswith("num_batches_tracked")}
    bare |= {
        "input_resolution": torch.tensor(96),
        "context_length": torch.tensor(77),
        "vocab_size": torch.tensor(49408),
    }
    found = imported(tmp_path, bare, None)
    assert any("logit_scale was missing" in note for note in found["notes"])
    model = cirray.load(tmp_path / "bundle")
    pixels = noise_pixels(2, SMALL_RN.resolution)
    with torch.inference_mode():
        assert_same_direction(model.encoder.encode_image(pixels), openai_clip.image_features(clip, pixels))
    assert float(model.encoder.clip.logit_scale.detach().exp()) == pytest.approx(100.0)


# ---------------------------------------------------------------------------------------------------------------------
# wrong files


class Exploit:
    """The payload of a hostile checkpoint: unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def scripted(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive_:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py", "version"):
            archive_.writestr(f"RN50x4/{name}", b"x")


def compressed(path: Path) -> None:
    torch.save({"epoch": 1, "CLIP": {}}, path.with_name("plain.pt"))
    with zipfile.ZipFile(path.with_name("plain.pt")) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for entry in plain.infolist():
            out.writestr(entry.filename, plain.read(entry))


def cut_short(path: Path) -> None:
    saved(path, "CLIP", {"x": torch.ones(5000)})
    path.write_bytes(path.read_bytes()[:8000])


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive_:
        archive_.writestr("word/document.xml", b"x")


def bundled(path: Path) -> None:
    write_bundle(path)


VIEW = torch.zeros(1).expand(10**6, 10**6)
WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "a Combiner": (
        lambda path: saved(path, "Combiner", combiner_state(24)),
        r"a checkpoint of CLIP4Cir's Combiner; expected .*: pass it as --combiner",
    ),
    "a bundle": (bundled, "is already a cirray bundle"),
    "a folder": (lambda path: path.mkdir(), "is a folder"),
    "nothing": (lambda path: None, "does not exist"),
    "an empty file": (lambda path: path.touch(), r"is empty \(0 bytes\)"),
    "TorchScript": (
        scripted,
        r"is a TorchScript archive, such as OpenAI's published.*--backbone\.pretrained openai.*--backbone\.weights",
    ),
    "a compressed archive": (compressed, "is a compressed archive"),
    "a damaged archive": (cut_short, r"is a damaged archive \(an incomplete copy"),
    "another archive": (zipped, r"a zip archive, but was not written by torch\.save"),
    "a bare CLIP": (
        lambda path: torch.save(random_state(SMALL_VIT), path),
        r"a bare state dict of CLIP; expected {'epoch', 'CLIP'}\. Wrap it",
    ),
    "a bare Combiner": (
        lambda path: torch.save(combiner_state(24), path),
        r"a bare state dict of Combiner.*give that as --combiner",
    ),
    "open_clip's": (
        lambda path: torch.save({"epoch": 3, "name": "run", "state_dict": {}}, path),
        r"a training checkpoint with a 'state_dict'.*jobs/bundle\.py .*--backbone\.weights",
    ),
    "another dictionary": (
        lambda path: torch.save({"model": 3}, path),
        r"another kind of torch file \(it contains 'model'\)",
    ),
    "a list": (lambda path: torch.save([1], path), "a torch file that contains a list"),
    "safetensors": (
        lambda path: save_file({"x": torch.ones(2)}, path),
        r"is a safetensors file.*jobs/bundle\.py .*--backbone\.w",
    ),
    "the old layout": (
        lambda path: torch.save({"CLIP": {}}, path, _use_new_zipfile_serialization=False),
        r"is a bare pickle or was saved by torch before version 1\.6",
    ),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps({"CLIP": {}})), "is a bare pickle"),
    "a web page": (lambda path: path.write_text("<html>404"), r"is not a torch file \(it begins with b'<html>404'\)"),
    "a pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid"),
        "is a Git LFS pointer",
    ),
    "a number for a state dict": (lambda path: torch.save({"CLIP": 3}, path), "'CLIP' must be a state dict, not int"),
    "an empty state dict": (lambda path: torch.save({"CLIP": {}}, path), "'CLIP' must be a state dict"),
    "no tensor": (lambda path: torch.save({"CLIP": {"x": "y"}}, path), "'CLIP' entry x must be a tensor, not str"),
    "complex numbers": (
        lambda path: torch.save({"CLIP": {"x": torch.ones(1, dtype=torch.complex64)}}, path),
        "must be a dense real tensor",
    ),
    "no numbers": (lambda path: torch.save({"CLIP": {"x": torch.tensor([float("nan")])}}, path), "NaN or infinity"),
    "a bomb": (lambda path: torch.save({"CLIP": {"x": VIEW}}, path), r"tensors of 'CLIP' have more than"),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_error_names_the_kind_of_file(what: str, tmp_path: Path) -> None:
    make, message = WRONG[what]
    make(tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(tmp_path / "file.pt", "CLIP")
    assert str(caught.value).startswith(str(tmp_path / "file.pt"))


def test_a_clip_in_place_of_a_combiner_is_named(tmp_path: Path) -> None:
    saved(tmp_path / "clip.pt", "CLIP", {"x": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"a checkpoint of CLIP4Cir's CLIP; expected .*: pass it as --clip"):
        read_checkpoint(tmp_path / "clip.pt", "Combiner")


def test_no_code_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    torch.save({"epoch": 1, "CLIP": Exploit(tmp_path / "ran")}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="contains code or objects besides tensors"):
        read_checkpoint(tmp_path / "x.pt", "CLIP")
    assert not (tmp_path / "ran").exists()


def test_files_that_are_too_large_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "x.pt", "CLIP", {"x": torch.ones(1000)})
    monkeypatch.setattr(archive, "MAX_BYTES", 4000)
    with pytest.raises(CheckpointError, match=r"has [\d,]+ bytes, more than the limit of"):
        read_checkpoint(tmp_path / "x.pt", "CLIP")


def test_damage_inside_is_an_error(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pt", "CLIP", {"x": torch.ones(1000)})
    content = bytearray(path.read_bytes())
    place = content.index(b"\x80\x02")  # where the pickle of names and shapes begins
    content[place + 2 : place + 30] = b"\xff" * 28
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=r"x\.pt (is damaged|contains code or objects)"):
        read_checkpoint(path, "CLIP")


def test_a_clip_that_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    def refused(message: str, **changes: Tensor | None) -> None:
        state = {name: tensor for name, tensor in (random_state(SMALL_VIT) | changes).items() if tensor is not None}
        with pytest.raises(CheckpointError, match=message):
            imported(tmp_path, state, None)
        assert not (tmp_path / "bundle").exists()

    refused(r"visual\.proj has shape \[128, 9\], not \[128, 24\]", **{"visual.proj": torch.ones(128, 9)})
    refused(r"ln_final\.bias is missing", **{"ln_final.bias": None})
    refused(r"text_projection is missing, so the model's sizes", text_projection=None)
    refused(r"optimizer is unexpected", optimizer=torch.ones(1))
    refused(
        r"the vocabulary has 7 tokens; expected 49408 of OpenAI's tokenizer",
        **{"token_embedding.weight": torch.ones(7, 64)},
    )
    refused(r"8 rows; expected a square number plus 1", **{"visual.positional_embedding": torch.ones(8, 128)})
    refused(r"100 wide; expected a multiple of the head width 64", **{"ln_final.weight": torch.ones(100)})
    refused(r"expected 2 dimensions", text_projection=torch.ones(3))


def test_a_combiner_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    clip = random_state(SMALL_VIT)
    with pytest.raises(CheckpointError, match=r"features of width 16, but .*clip\.pt .* has width 24"):
        imported(tmp_path, clip, combiner_state(16))
    broken = combiner_state(24) | {"output_layer.bias": torch.ones(3)}
    with pytest.raises(CheckpointError, match=r"output_layer\.bias has shape \[3\], not \[24\]"):
        imported(tmp_path, clip, broken)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("what", ["heads", "activation", "gated"])
def test_what_clip4cir_cannot_compute_is_not_exported(what: str, tmp_path: Path) -> None:
    if what == "gated":
        imported(tmp_path, random_state(SMALL_VIT), None)
        encoder = cirray.load(tmp_path / "bundle").encoder
        write_bundle(tmp_path / "gated", settings=CombiningSettings(function="gated", hidden=8), encoder=encoder)
        place, message = tmp_path / "gated", "combines with 'gated', but CLIP4Cir supports only"
    else:
        definition = clip_definition("x", random_state(SMALL_VIT))
        if what == "heads":
            definition["vision_cfg"]["head_width"] = 32
        else:
            definition["quick_gelu"] = False
        place = write_bundle(tmp_path / "other", encoder=make_encoder(definition))
        message = r"is not an OpenAI CLIP \(QuickGELU, attention heads 64 wide\)"
    with pytest.raises(CheckpointError, match=message):
        export_bundle(str(place), tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_another_kind_of_encoder_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="CLIP4Cir supports only OpenAI's CLIP architectures"):
        export_bundle(str(write_bundle(tmp_path / "tiny")), tmp_path / "back")


def test_a_checkpoint_is_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("cirray.interop.clip4cir.checkpoint.torch.save", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write_checkpoint(tmp_path / "x.pt", "CLIP", {}, 0)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------------------------------
# the job


def test_the_job_imports_and_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = saved(tmp_path / "clip.pt", "CLIP", random_state(SMALL_RN))
    combiner = saved(tmp_path / "combiner.pt", "Combiner", combiner_state(24))
    place = str(tmp_path / "bundle")
    jobs.convert.run(["import", "--clip", str(clip), "--combiner", str(combiner), "--output", place])
    found = json.loads(capsys.readouterr().out)
    assert (found["bundle"], found["preprocess"]["convert"]) == (place, "last")
    jobs.convert.run(["export", "--bundle", place, "--output", str(tmp_path / "back")])
    assert Path(json.loads(capsys.readouterr().out)["combiner_path"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "--output", "x"), "--clip FILE is missing. For a Combiner trained on OpenAI's published CLIP"),
        (("import", "--clip", "x.pt"), "--output BUNDLE is missing"),
        (("import", "--clip", "x.pt", "--backbone.model", "RN50", "--output", "x"), "not both"),
        (
            ("import", "--output", "x"),
            "or a local file of it: --backbone.model RN50x4-quickgelu --backbone.weights FILE",
        ),
        (("import", "--output", "x"), "For a bundle of a CLIP alone, use jobs/bundle.py"),
        (("import", "--clip", "nowhere.pt", "--output", "x"), "nowhere.pt does not exist"),
        (("import", "--clip", "--output", "x"), "--clip: input should be a valid string"),
        (("import", "--klip", "x", "--output", "x"), "klip"),
        (("export", "--output", "x"), "--bundle DIR is missing"),
        (("export", "--bundle", "x", "--combiner", "y", "--output", "x"), "no option is named --combiner"),
        (("port", "--output", "x"), "the first argument must be import or export, not 'port'"),
    ],
)
def test_the_job_refuses(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises((ConfigError, CheckpointError)) as caught:
        jobs.convert.run(arguments)
    assert message in str(caught.value)
