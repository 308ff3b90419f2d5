"""A trained model: saved to a bundle folder, rebuilt from it alone."""

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
    """A trained model: pictures and sentences in, unit features out.

    Attributes:
        encoder: CLIP's towers.
        combining: the combining function.
        manifest: what `model.json` says.
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
        """Encodes pictures (files or PIL images) to gallery features [N, d], unit length unless asked otherwise.

        Raises:
            DataError: a picture cannot be read.
        """
        many = [pictures] if isinstance(pictures, (str, Path, Image.Image)) else list(pictures)
        decoded = np.stack([self._pixels(picture) for picture in many])
        return self.encoder.encode_image(torch.from_numpy(decoded).to(self.device), normalize=normalize)

    @torch.inference_mode()
    def encode_text(self, texts: str | Sequence[str], normalize: bool = True) -> Tensor:
        """Encodes sentences to text features [N, d], unit length unless asked otherwise."""
        many = [texts] if isinstance(texts, str) else list(texts)
        return self.encoder.encode_text(self.encoder.tokenize(many).to(self.device), normalize=normalize)

    @torch.inference_mode()
    def encode_query(self, image: Picture | Sequence[Picture] | Tensor, text: str | Sequence[str]) -> Tensor:
        """Encodes reference images and relative captions to unit query features [N, d].

        Args:
            image: pictures, or raw image features [N, d] as `encode_image(..., normalize=False)` gives them.
            text: as many sentences.

        Raises:
            ValueError: as many images as sentences are expected.
        """
        features = image.to(self.device) if isinstance(image, Tensor) else self.encode_image(image, normalize=False)
        features = features.unsqueeze(0) if features.dim() == 1 else features
        sentences = self.encode_text(text, normalize=False)
        if len(features) != len(sentences):
            raise ValueError(f"{len(features)} images and {len(sentences)} sentences: give one sentence an image")
        combined: Tensor = self.combining(features, sentences)
        return combined

    @torch.inference_mode()
    def compose(self, image: Tensor, text: Tensor, text_weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Combines raw features [N, d] to unit query features [N, d], and says the text's shares [N, 1], if any.

        Args:
            text_weight: [N, 1], the text's shares, in place of those that the combining function chooses.

        Raises:
            ValueError: the combining function has no text_weight to set.
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
    """Writes a bundle, replacing what was there; its manifest comes last.

    Args:
        encoder: the encoder folder to include.
        details: what else the manifest shall say (recipe, metrics, provenance).
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
        BundleError: its weights are missing or do not fit.
    """
    settings = CombiningSettings.model_validate(manifest["combining"])
    combining = build_combining(manifest["dim"], settings)
    if not combining.state_dict():
        return combining.eval()
    if not (folder / COMBINING).is_file():
        raise BundleError(f"{folder / COMBINING} is missing: {MANIFEST} says {settings.function}, which has weights")
    try:
        combining.load_state_dict(load_file(folder / COMBINING))
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(f"{folder / COMBINING} does not fit {MANIFEST}: {error}") from None
    return combining.eval()


def load(folder: Path, device: str = "cpu") -> Model:
    """Rebuilds a model from its bundle folder alone.

    Raises:
        BundleError: the folder is no complete bundle, or its parts do not belong together.
    """
    manifest = read_bundle(folder)
    stated = {key: manifest[key] for key in ("image_fingerprint", "text_fingerprint")}
    encoder = load_encoder(folder / "encoder", device)
    found = {key: encoder.fingerprint("image" if "image" in key else "text") for key in stated}
    if stated != found:
        raise BundleError(f"{folder}/encoder is not the one that {MANIFEST} was written for: train or copy it again")
    return Model(encoder, load_combining(folder, manifest).to(device), manifest, folder)
