"""A trained model: saving it as a bundle, and loading it from one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
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
from cirray.models.bundle_manifest import COMBINING, FORMAT, MANIFEST, read_bundle
from cirray.models.clip import Encoder, load_encoder
from cirray.models.combining import CombiningFunction, build_combining
from cirray.models.encoder_manifest import DEFINITION, read_manifest
from cirray.storage.files import read_json, replacing, write_json

Picture = str | Path | Image.Image


class Model:
    """A trained model: encodes images, texts and queries to features.

    Shapes: N images, texts or queries, d feature width.

    Attributes:
        encoder: CLIP's image and text tower.
        combining: the combining function.
        manifest: the content of `model.json`.
        path: the bundle's folder.
    """

    def __init__(self, encoder: Encoder, combining: CombiningFunction, manifest: dict[str, Any], path: Path) -> None:
        self.encoder = encoder.eval()
        self.combining = combining.eval()
        self.manifest = manifest
        self.path = path
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
        """Encodes texts to text features [N, d], unit length if `normalize`."""
        many = [texts] if isinstance(texts, str) else list(texts)
        return self.encoder.encode_text(self.encoder.tokenize(many).to(self.device), normalize=normalize)

    @torch.inference_mode()
    def encode_query(self, image: Picture | Sequence[Picture] | Tensor, text: str | Sequence[str]) -> Tensor:
        """Encodes reference images and relative captions to unit query features [N, d].

        Args:
            image: N reference images, or their raw features [N, d] or [d] from `encode_image(..., normalize=False)`.
            text: N relative captions.

        Raises:
            ValueError: the numbers of images and captions differ.
            DataError: a picture cannot be read.
        """
        features = image.to(self.device) if isinstance(image, Tensor) else self.encode_image(image, normalize=False)
        features = features.unsqueeze(0) if features.dim() == 1 else features
        sentences = self.encode_text(text, normalize=False)
        if len(features) != len(sentences):
            raise ValueError(f"{len(features)} images and {len(sentences)} sentences: give one sentence per image")
        combined: Tensor = self.combining(features, sentences)
        return combined

    @torch.inference_mode()
    def compose(self, image: Tensor, text: Tensor, text_weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Combines raw features; see `CombiningFunction.compose`.

        Args:
            image: raw image features [N, d].
            text: raw text features [N, d].
            text_weight: [N, 1], replaces the text weights that the combining function computes.

        Returns:
            Unit query features [N, d], and the text weights [N, 1]; None if the function has none.

        Raises:
            ValueError: the combining function has no text weight to set.
        """
        return self.combining.compose(image, text, text_weight)

    def _pixels(self, picture: Picture) -> np.ndarray:
        size, preprocess = self.encoder.image_input.size, self.encoder.preprocess
        if isinstance(picture, Image.Image):
            return image_pixels(picture, size, preprocess)
        return file_pixels(Path(picture), size, preprocess)


def save(
    folder: Path, encoder: Path, combining: CombiningFunction, settings: CombiningSettings, details: dict[str, Any]
) -> None:
    """Writes a bundle, replacing a previous one. The manifest is written last.

    Args:
        folder: the bundle's folder.
        encoder: the encoder folder to copy into it.
        combining: the combining function.
        settings: the settings that the combining function was built with.
        details: further fields of the manifest (recipe, metrics, provenance).
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.copytree(encoder, folder / "encoder", dirs_exist_ok=True)
    (folder / COMBINING).unlink(missing_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in combining.state_dict().items()}
    if state:
        with replacing(folder / COMBINING) as temporary:
            save_file(state, temporary)
    config = read_json(folder / "encoder" / DEFINITION)
    manifest = {
        "format": FORMAT,
        "dim": config["model_cfg"]["embed_dim"],
        "combining": settings.model_dump(),
        **read_manifest(folder / "encoder"),
        **details,
    }
    write_json(folder / MANIFEST, manifest)


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
        BundleError: the bundle is incomplete, or its encoder does not match its manifest.
    """
    manifest = read_bundle(folder)
    expected = {key: manifest[key] for key in ("image_fingerprint", "text_fingerprint")}
    encoder = load_encoder(folder / "encoder", device)
    actual = {key: encoder.fingerprint("image" if "image" in key else "text") for key in expected}
    if expected != actual:
        raise BundleError(
            f"{folder}/encoder does not match the fingerprints in {MANIFEST}: train or copy the bundle again"
        )
    return Model(encoder, load_combining(folder, manifest).to(device), manifest, folder)
