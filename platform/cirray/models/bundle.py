"""A trained model: saving it as a bundle, and loading it from one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cirray.config.training import CombiningSettings
from cirray.data.images import file_pixels, image_pixels
from cirray.errors import BundleError
from cirray.models.bundle_manifest import (
    COMBINING,
    FORMAT,
    MANIFEST,
    PRETRAINED_TEXT,
    PRETRAINED_TEXT_FINGERPRINT,
    RERANKER,
    RERANKER_SETTINGS,
    read_bundle,
)
from cirray.models.bundle_reranker import TrainedReranker, load_reranker
from cirray.models.clip import Encoder, load_encoder, save_encoder
from cirray.models.combining import CombiningFunction, build_combining
from cirray.models.composition import NEUTRAL_TEXT, text_directions
from cirray.models.encoder_manifest import DEFINITION, read_manifest
from cirray.models.pretrained_text import changed_text_tensors, with_text_tower
from cirray.models.reranking import Reranker
from cirray.storage.files import read_json, replacing, write_json
from cirray.storage.location import Location

Picture = str | Path | Image.Image


class Model:
    """A trained model: encodes images, texts and queries to features.

    Shapes: N images, texts or queries, d feature width.

    Stage 1 trains the text tower on relative captions, and it then describes changes, no longer images. A model
    therefore also has the text tower from before stage 1. Texts without a reference image are encoded with that one.

    Attributes:
        encoder: CLIP's image tower, and its text tower after training: for relative captions.
        pretrained: the same image tower with the text tower from before stage 1: for texts alone. It is `encoder`
            itself if the bundle has one text tower (no stage 1, or a bundle of an earlier version).
        combining: the combining function.
        manifest: the content of `model.json`.
        path: the bundle's folder.
        reranker: scores the first results again; None if the bundle has none.
    """

    def __init__(
        self,
        encoder: Encoder,
        pretrained: Encoder,
        combining: CombiningFunction,
        manifest: dict[str, Any],
        path: Path,
        reranker: Reranker | None = None,
    ) -> None:
        self.encoder = encoder.eval()
        self.pretrained = pretrained.eval()
        self.combining = combining.eval()
        self.manifest = manifest
        self.path = path
        self.reranker = reranker
        self.device = next(encoder.parameters()).device

    @torch.inference_mode()
    def encode_image(self, pictures: Picture | Sequence[Picture], normalize: bool = True) -> Tensor:
        """Encodes pictures (files or PIL images) to image features [N, d], unit length if `normalize`.

        Raises:
            DataError: a picture cannot be read.
        """
        many = [pictures] if isinstance(pictures, (str, Path, Image.Image)) else list(pictures)
        decoded = np.stack([self._pixels(picture) for picture in many])
        return self.encoder.encode_image(torch.from_numpy(decoded).to(self.device), normalize=normalize)

    @torch.inference_mode()
    def encode_text(self, texts: str | Sequence[str], normalize: bool = True) -> Tensor:
        """Encodes texts that describe images to text features [N, d], unit length if `normalize`.

        These are queries of text alone: they use the text tower from before stage 1. For relative captions, see
        `encode_caption`.
        """
        return self._encode_text(self.pretrained, texts, normalize)

    @torch.inference_mode()
    def encode_unwanted(self, texts: str | Sequence[str]) -> Tensor:
        """Encodes texts that name what a query should not find to unit directions [N, d], for `compose_references`."""
        return text_directions(self.encode_text(texts), self.encode_text(NEUTRAL_TEXT)[0])

    @torch.inference_mode()
    def encode_caption(self, captions: str | Sequence[str], normalize: bool = True) -> Tensor:
        """Encodes relative captions to text features [N, d], unit length if `normalize`.

        They use the text tower after stage 1. `compose` takes them raw, that is with `normalize=False`.
        """
        return self._encode_text(self.encoder, captions, normalize)

    @torch.inference_mode()
    def encode_query(self, image: Picture | Sequence[Picture] | Tensor, text: str | Sequence[str]) -> Tensor:
        """Encodes reference images and relative captions to unit query features [N, d].

        The captions are encoded with the text tower after stage 1. `compose_references` joins the queries of several
        references to one.

        Args:
            image: N reference images, or their raw features [N, d] or [d] from `encode_image(..., normalize=False)`.
            text: N relative captions.

        Raises:
            ValueError: the numbers of images and captions differ.
            DataError: a picture cannot be read.
        """
        features = image.to(self.device) if isinstance(image, Tensor) else self.encode_image(image, normalize=False)
        features = features.unsqueeze(0) if features.dim() == 1 else features
        sentences = self.encode_caption(text, normalize=False)
        if len(features) != len(sentences):
            raise ValueError(f"{len(features)} images and {len(sentences)} sentences: give one sentence per image")
        combined: Tensor = self.combining(features, sentences)
        return combined

    @torch.inference_mode()
    def compose(self, image: Tensor, text: Tensor, text_weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Combines raw features; see `CombiningFunction.compose`.

        Args:
            image: raw image features [N, d].
            text: raw features of relative captions [N, d], of `encode_caption`.
            text_weight: [N, 1], replaces the text weights that the combining function computes.

        Returns:
            Unit query features [N, d], and the text weights [N, 1]; None if the function has none.

        Raises:
            ValueError: the combining function has no text weight to set.
        """
        return self.combining.compose(image, text, text_weight)

    def _encode_text(self, encoder: Encoder, texts: str | Sequence[str], normalize: bool) -> Tensor:
        many = [texts] if isinstance(texts, str) else list(texts)
        return encoder.encode_text(encoder.tokenize(many).to(self.device), normalize=normalize)

    def _pixels(self, picture: Picture) -> np.ndarray:
        size, preprocess = self.encoder.image_input.size, self.encoder.preprocess
        if isinstance(picture, Image.Image):
            return image_pixels(picture, size, preprocess)
        return file_pixels(Path(picture), size, preprocess)


def save(
    folder: Path,
    encoder: Path,
    combining: CombiningFunction,
    settings: CombiningSettings,
    details: dict[str, Any],
    pretrained: Path | None = None,
    reranker: TrainedReranker | None = None,
) -> None:
    """Writes a bundle, replacing a previous one. The manifest is written last.

    Args:
        folder: the bundle's folder.
        encoder: the encoder folder to copy into it.
        combining: the combining function.
        settings: the settings that the combining function was built with.
        details: further fields of the manifest (recipe, metrics, provenance).
        pretrained: the encoder folder that stage 1 started from, whose text tower encodes texts alone. Only the
            tensors that differ from those of `encoder` are stored. None if there was no stage 1.
        reranker: the reranker of stage 3; None if there was none.

    Raises:
        BundleError: the text towers of `encoder` and `pretrained` have different architectures.
    """
    differing = changed_text_tensors(encoder, pretrained) if pretrained else {}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.copytree(encoder, folder / "encoder", dirs_exist_ok=True)
    _replace(folder / COMBINING, combining.state_dict())
    _replace(folder / PRETRAINED_TEXT, differing)
    _replace(folder / RERANKER, reranker.reranker.state_dict() if reranker else {})
    config = read_json(folder / "encoder" / DEFINITION)
    manifest = {
        "format": FORMAT,
        "dim": config["model_cfg"]["embed_dim"],
        "combining": settings.model_dump(),
        **read_manifest(folder / "encoder"),
        **details,
    }
    if pretrained and differing:
        manifest[PRETRAINED_TEXT_FINGERPRINT] = read_manifest(pretrained)["text_fingerprint"]
    if reranker:
        manifest[RERANKER_SETTINGS] = reranker.settings.model_dump()
    write_json(folder / MANIFEST, manifest)


def write(
    output: Location,
    encoder: Encoder,
    combining: CombiningFunction,
    settings: CombiningSettings,
    details: dict[str, Any],
    pretrained: Encoder | None = None,
    reranker: TrainedReranker | None = None,
) -> None:
    """Writes a bundle of encoders in memory, and uploads it if `output` is a URI. For the arguments, see `save`."""
    with tempfile.TemporaryDirectory() as scratch:
        trained, start = Path(scratch) / "trained", Path(scratch) / "pretrained"
        save_encoder(encoder, trained)
        if pretrained:
            save_encoder(pretrained, start)
        save(output.local, trained, combining, settings, details, start if pretrained else None, reranker)
    output.push(MANIFEST)


def _replace(file: Path, state: Mapping[str, Tensor]) -> None:
    """Writes tensors to a file; without tensors there is no file."""
    file.unlink(missing_ok=True)
    if state:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        with replacing(file) as temporary:
            save_file(tensors, temporary)


def load_combining(folder: Path, manifest: dict[str, Any]) -> CombiningFunction:
    """Rebuilds a bundle's combining function.

    Raises:
        BundleError: its weights are missing or do not match the manifest.
    """
    settings = CombiningSettings.model_validate(manifest["combining"])
    combining = build_combining(manifest["dim"], settings)
    if not combining.state_dict():
        return combining.eval()
    if not (folder / COMBINING).is_file():
        raise BundleError(
            f"{folder / COMBINING} is missing, but {settings.function} of {MANIFEST} has weights: copy the bundle again"
        )
    try:
        combining.load_state_dict(load_file(folder / COMBINING))
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(f"{folder / COMBINING} does not match {MANIFEST}: {error}") from None
    return combining.eval()


def load(folder: Path, device: str = "cpu") -> Model:
    """Loads a model from its bundle folder.

    Raises:
        BundleError: the bundle is incomplete, or a part of it does not match its manifest.
    """
    manifest = read_bundle(folder)
    expected = {key: manifest[key] for key in ("image_fingerprint", "text_fingerprint")}
    encoder = load_encoder(folder / "encoder", device)
    actual = {key: encoder.fingerprint("image" if "image" in key else "text") for key in expected}
    if expected != actual:
        raise BundleError(
            f"{folder}/encoder does not match the fingerprints in {MANIFEST}: train or copy the bundle again"
        )
    pretrained = _load_pretrained(folder, manifest, encoder)
    reranker = load_reranker(folder, manifest)
    if reranker is not None:
        reranker.to(device)
    return Model(encoder, pretrained, load_combining(folder, manifest).to(device), manifest, folder, reranker)


def _load_pretrained(folder: Path, manifest: dict[str, Any], encoder: Encoder) -> Encoder:
    """Returns the encoder with the text tower from before stage 1; `encoder` itself if the bundle has one text tower.

    Raises:
        BundleError: the weights of that text tower are missing, damaged, or do not match the manifest.
    """
    expected = manifest.get(PRETRAINED_TEXT_FINGERPRINT)
    if expected is None:
        return encoder
    file = folder / PRETRAINED_TEXT
    if not file.is_file():
        raise BundleError(f"{file} is missing, but {MANIFEST} has its fingerprint: copy the bundle again")
    try:
        pretrained = with_text_tower(encoder, load_file(file))
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(f"{file} does not match {MANIFEST}: {error}") from None
    if pretrained.fingerprint("text") != expected:
        raise BundleError(f"{file} does not match its fingerprint in {MANIFEST}: train or copy the bundle again")
    return pretrained
