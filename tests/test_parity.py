"""CLIP4Cir and cirray compute the same: whole steps with the recipes' settings, and pixels from files of every kind.

The reference is written down here a second time, from the paper's equations and the facts on its preprocessing.
docs/clip4cir.md says which other tests cover the rest.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, InterpolationMode, Resize
from torchvision.transforms import functional as TF

import cirray
from cirray.config.data import Preprocess
from cirray.config.recipe import load_recipe
from cirray.config.training import TrainConfig
from cirray.data.images import content_pixels, file_pixels, image_pixels, open_rgb, pixels
from cirray.errors import ConfigError
from cirray.models.combining.combiner import Combiner
from cirray.models.combining.sum import Sum
from cirray.models.losses import contrastive_loss
from cirray.training.loop import build_optimizer
from tests.support.bundles import write_bundle
from tests.support.encoder_fixtures import make_encoder, tiny_encoder
from tests.test_combining_combiner import by_the_equations

# ---------------------------------------------------------------------------------------------------------------------
# steps


def paper_loss(query: Tensor, target: Tensor) -> Tensor:
    """Equation 1: cross-entropy of 100 x cosine, each query against the targets of the batch."""
    target = target / target.norm(dim=1, keepdim=True)
    logits = 100.0 * query @ target.T
    return (torch.log(torch.exp(logits - 100.0).sum(dim=1)) + 100.0 - logits.diag()).mean()


State = dict[str, Tensor]


def adam(state: State, slopes: list[State], lr: float, eps: float, decay: float) -> State:
    """Adam (Kingma and Ba) with decoupled decay (Loshchilov and Hutter), from the slopes of every step so far."""
    new = {}
    for name, value in state.items():
        first = second = torch.zeros_like(value)
        for slope in slopes:
            first, second = 0.9 * first + 0.1 * slope[name], 0.999 * second + 0.001 * slope[name] ** 2
        mean = first / (1 - 0.9 ** len(slopes))
        square = second / (1 - 0.999 ** len(slopes))
        new[name] = value - lr * decay * value - lr * mean / (square.sqrt() + eps)
    return new


def three_steps(loss: Callable[[State], Tensor], state: State, lr: float, eps: float, decay: float) -> State:
    """Trains by hand on one batch."""
    slopes: list[State] = []
    for _ in range(3):
        leaves = {name: value.detach().clone().requires_grad_() for name, value in state.items()}
        found = torch.autograd.grad(loss(leaves), list(leaves.values()))
        slopes.append(dict(zip(leaves, found, strict=True)))
        state = adam({name: value.detach() for name, value in state.items()}, slopes, lr, eps, decay)
    return state


def batch(count: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(5)
    return tuple(torch.randn(count, dim, generator=random) for _ in range(3))  # type: ignore[return-value]


@pytest.mark.parametrize("recipe", ["fashioniq-rn50", "fashioniq-rn50x4", "cirr-rn50", "cirr-rn50x4"])
def test_three_steps_of_stage_2_are_the_papers(recipe: str) -> None:
    """The Combiner, the loss and Adam as the recipe sets them; without dropout, whose masks nobody could compare."""
    settings = load_recipe(TrainConfig, recipe, {"data.root": "x", "output": "y"}).stage2
    image, text, target = batch(6, 8)
    torch.manual_seed(0)
    combiner = Combiner(8, 16, 32, 0.0, 0.0, 0.0)
    start = {name: value.detach().double() for name, value in combiner.named_parameters()}
    wide = [part.double() for part in (image, text, target)]

    def loss(state: State) -> Tensor:
        return paper_loss(by_the_equations(state, wide[0], wide[1])[0], wide[2])

    expected = three_steps(loss, start, 2e-5, 1e-8, 0.0)
    optimizer = build_optimizer(dict(combiner.named_parameters()), settings.optimisation)
    for _ in range(3):
        optimizer.zero_grad()
        unit = torch.nn.functional.normalize(target, dim=1)
        scale = 1 / settings.loss.temperature
        contrastive_loss(combiner(image, text), unit, torch.arange(6), scale).backward()
        optimizer.step()
    for name, value in combiner.named_parameters():
        moved = float((expected[name] - start[name]).abs().max())
        assert moved > 4e-5, name  # each of the three steps counts
        # an eighth of one step: where a slope nearly vanishes, single precision may turn it
        torch.testing.assert_close(value.detach().double(), expected[name], atol=2.5e-6, rtol=0)


@pytest.mark.parametrize("recipe", ["fashioniq-rn50", "fashioniq-rn50x4", "cirr-rn50", "cirr-rn50x4"])
def test_three_steps_of_stage_1_are_the_papers(recipe: str) -> None:
    """normalize(raw image + raw text) against the targets; the text tower is one linear layer here."""
    settings = load_recipe(TrainConfig, recipe, {"data.root": "x", "output": "y"}).stage1
    image, words, target = batch(6, 8)
    torch.manual_seed(0)
    tower = torch.nn.Linear(8, 8)
    start = {name: value.detach().double() for name, value in tower.named_parameters()}
    wide = [part.double() for part in (image, words, target)]

    def loss(state: State) -> Tensor:
        query = wide[0] + wide[1] @ state["weight"].T + state["bias"]
        return paper_loss(query / query.norm(dim=1, keepdim=True), wide[2])

    expected = three_steps(loss, start, 2e-6, 1e-7, 0.01)
    optimizer = build_optimizer(dict(tower.named_parameters()), settings.optimisation)
    for _ in range(3):
        optimizer.zero_grad()
        unit = torch.nn.functional.normalize(target, dim=1)
        scale = 1 / settings.loss.temperature
        contrastive_loss(Sum()(image, tower(words)), unit, torch.arange(6), scale).backward()
        optimizer.step()
    for name, value in tower.named_parameters():
        assert float((expected[name] - start[name]).abs().max()) > 4e-6
        torch.testing.assert_close(value.detach().double(), expected[name], atol=2e-7, rtol=0)


def test_the_loss_by_hand_is_no_tautology() -> None:
    _, text, target = batch(4, 8)
    query = text / text.norm(dim=1, keepdim=True)
    spelled = 0.0
    for i in range(4):
        cosines = [float(query[i] @ target[j] / target[j].norm()) for j in range(4)]
        spelled += math.log(sum(math.exp(100 * (c - cosines[i])) for c in cosines)) / 4
    assert float(paper_loss(query.double(), target.double())) == pytest.approx(spelled, rel=1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# pixels


def of_the_reference(image: Image.Image, size: int, pad: str = "target", ratio: float = 1.25) -> np.ndarray:
    """Pad, resize and crop in the picture's own mode, then convert to RGB: CLIP4Cir's order."""
    width, height = image.size
    longest = max(width, height)
    borders = [0, 0]
    if pad == "square":
        borders = [int((longest - side) / 2) for side in (width, height)]
    elif pad == "target" and longest / min(width, height) >= ratio:
        borders = [max(int((longest / ratio - side) / 2), 0) for side in (width, height)]
    image = TF.pad(image, borders * 2, 0, "constant")
    image = CenterCrop(size)(Resize(size, InterpolationMode.BICUBIC)(image))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Palette images with Transparency", UserWarning)
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def noise(width: int, height: int, bands: int, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)
    return found[..., 0] if bands == 1 else found


def turned(width: int, height: int) -> tuple[Image.Image, dict[str, object]]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return Image.fromarray(noise(width, height, 3)), {"exif": exif}


def palette(width: int, height: int, **options: object) -> tuple[Image.Image, dict[str, object]]:
    image = Image.fromarray(noise(width, height, 3)).quantize(17)
    return image, dict(options)


KINDS: dict[str, tuple[str, Callable[[int, int], tuple[Image.Image, dict[str, object]]]]] = {
    "RGB": ("png", lambda w, h: (Image.fromarray(noise(w, h, 3)), {})),
    "grayscale": ("png", lambda w, h: (Image.fromarray(noise(w, h, 1)), {})),
    "bilevel": ("png", lambda w, h: (Image.fromarray(noise(w, h, 1)).convert("1"), {})),
    "palette": ("png", palette),
    "palette with transparency": ("png", lambda w, h: palette(w, h, transparency=3)),
    "CMYK": ("jpg", lambda w, h: (Image.fromarray(noise(w, h, 4), "CMYK"), {})),
    "alpha": ("png", lambda w, h: (Image.fromarray(noise(w, h, 4), "RGBA"), {})),
    "gray and alpha": ("png", lambda w, h: (Image.fromarray(noise(w, h, 4), "RGBA").convert("LA"), {})),
    "turned by EXIF": ("jpg", turned),
}
SIZES = [(1, 1), (42, 39), (41, 33), (99, 31), (31, 100), (50, 40), (64, 64)]


def write(folder: Path, kind: str, shape: tuple[int, int]) -> Path:
    suffix, make = KINDS[kind]
    image, options = make(*shape)
    path = folder / f"picture.{suffix}"
    image.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_converted_last_every_picture_is_the_references(kind: str, shape: tuple[int, int], tmp_path: Path) -> None:
    path = write(tmp_path, kind, shape)
    for pad in ("target", "square", "none"):
        preprocess = Preprocess.model_validate({"pad": pad, "convert": "last"})
        with Image.open(path) as opened:
            expected = of_the_reference(opened, 33, pad)
        np.testing.assert_array_equal(file_pixels(path, 33, preprocess), expected)
        np.testing.assert_array_equal(content_pixels(path.read_bytes(), "x", 33, preprocess), expected)
        with Image.open(path) as opened:
            np.testing.assert_array_equal(image_pixels(opened, 33, preprocess), expected)


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_converted_first_every_picture_is_the_reference_of_its_rgb(
    kind: str, shape: tuple[int, int], tmp_path: Path
) -> None:
    """Our own rule (docs/images.md): upright and RGB before all else, then as the reference."""
    path = write(tmp_path, kind, shape)
    for background in ("white", "black"):
        preprocess = Preprocess.model_validate({"background": background})
        expected = of_the_reference(open_rgb(path, preprocess.background), 33)
        np.testing.assert_array_equal(file_pixels(path, 33, preprocess), expected)
        np.testing.assert_array_equal(pixels(open_rgb(path, preprocess.background), 33, preprocess), expected)


@pytest.mark.parametrize(
    ("kind", "same"),
    [
        ("RGB", True),
        ("grayscale", True),
        ("bilevel", False),
        ("palette", False),
        ("CMYK", False),
        ("alpha", False),
        ("turned by EXIF", False),
    ],
)
def test_where_the_two_orders_differ(kind: str, same: bool, tmp_path: Path) -> None:
    """What docs/images.md says of them."""
    path = write(tmp_path, kind, (99, 31))
    first, last = (file_pixels(path, 33, Preprocess.model_validate({"convert": order})) for order in ("first", "last"))
    assert np.array_equal(first, last) == same


def test_a_bundle_converts_as_it_says_and_its_fingerprint_tells(tmp_path: Path) -> None:
    path = write(tmp_path, "alpha", (40, 30))
    encoder = make_encoder(preprocess=Preprocess(convert="last"))
    assert encoder.fingerprint("image") != tiny_encoder().fingerprint("image")
    model = cirray.load(write_bundle(tmp_path / "bundle", encoder=encoder))
    assert model.encoder.preprocess.convert == "last"
    with Image.open(path) as opened, torch.inference_mode():
        expected = torch.from_numpy(of_the_reference(opened, 32).copy()).unsqueeze(0)
        features = encoder.encode_image(expected)
        torch.testing.assert_close(model.encode_image(path, normalize=False), features, atol=1e-5, rtol=0)
        torch.testing.assert_close(model.encode_image(opened, normalize=False), features, atol=1e-5, rtol=0)


def test_bundles_from_before_keep_their_fingerprint() -> None:
    before = {"pad": "target", "ratio": 1.25, "background": "white"}
    assert Preprocess.stored(before).identity() == before
    assert Preprocess.stored({**before, "convert": "first"}).identity() == before
    last = {**before, "convert": "last"}
    assert Preprocess.stored(last).identity() == last
    assert Preprocess(convert="last").identity() == last
    assert Preprocess().identity() == {**before, "color": "srgb"}
    with pytest.raises(ConfigError, match=r"preprocess\.convert"):
        load_recipe(TrainConfig, "default", {"preprocess.convert": "never"})
