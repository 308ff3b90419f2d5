"""The CLIP encoder: an open_clip model with its preprocessing, saved to and loaded from a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from cirray.config.data import Preprocess
from cirray.errors import BundleError
from cirray.models.causal_text import causal_text_tower
from cirray.models.encoder_manifest import DEFINITION, MANIFEST, WEIGHTS, read_manifest
from cirray.models.towers import register_towers
from cirray.storage.files import read_json, replacing, write_json

Tower = Literal["image", "text"]
TEMPERATURE = ("logit_scale", "logit_bias")


@dataclass(frozen=True, slots=True)
class ImageInput:
    """Input of the image tower: side in pixels, and mean and standard deviation of the channels (of values 0 to 1)."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Encoder(nn.Module):
    """CLIP's image and text tower. Always in eval mode: CLIP4Cir keeps batch-norm statistics frozen in stage 1.

    Shapes: B images or texts, S side of the image input, L context length, d feature width.

    Attributes:
        clip: the open_clip model.
        definition: open_clip's model configuration, from which the architecture can be rebuilt.
        image_input: size and normalisation of the image tower's input.
        preprocess: how a picture file becomes pixels; part of the image fingerprint.
        dim: d, the width of image and text features.
        cuts_text: whether batches of captions are truncated to their longest one.
    """

    def __init__(
        self,
        clip: Any,
        definition: Mapping[str, Any],
        tokenizer: Any,
        image_input: ImageInput,
        preprocess: Preprocess,
    ) -> None:
        super().__init__()
        self._mean: Tensor
        self._std: Tensor
        self.clip: Any = clip.eval()
        self.definition = dict(definition)
        self.tokenizer = tokenizer
        self.image_input = image_input
        self.preprocess = preprocess
        self.dim = int(definition["embed_dim"])
        self._cut = causal_text_tower(clip)
        self.cuts_text = self._cut is not None
        self.register_buffer("_mean", torch.tensor(image_input.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(image_input.std).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Encoder:
        """Stays in eval mode, whatever `mode` is: CLIP4Cir never updates batch-norm statistics."""
        return super().train(False)

    def encode_image(self, pixels: Tensor, normalize: bool = False) -> Tensor:
        """Encodes pixels, uint8 [B, 3, S, S], to image features [B, d], unit length if `normalize`."""
        scaled = (pixels.float() / 255.0 - self._mean) / self._std
        features = self.clip.visual(scaled)
        features = features[0] if isinstance(features, tuple) else features
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        """Encodes token ids, int64 [B, L], to text features [B, d], unit length if `normalize`."""
        features = self._cut(tokens) if self._cut else self.clip.encode_text(tokens, normalize=False)
        return F.normalize(features, dim=-1) if normalize else features

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Returns token ids, int64 [B, L]; the tokenizer truncates texts to the context length."""
        return self.tokenizer(list(texts))

    def tower_parameters(self, tower: Tower) -> Iterator[tuple[str, nn.Parameter]]:
        """Yields the named parameters of one tower. CLIP's logit scale and bias belong to neither."""
        for name, parameter in self.clip.named_parameters():
            if belongs_to(name, tower):
                yield name, parameter

    def has_batch_norm(self) -> bool:
        """Whether any layer is batch norm: such a model cannot train from scratch, as its statistics are frozen."""
        return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.clip.modules())

    def fingerprint(self, tower: Tower) -> str:
        """Returns the SHA-256 (hex) of everything that determines a tower's features.

        These are its weights and architecture, and for the image tower the preprocessing.
        """
        digest = hashlib.sha256(json.dumps(self._settings(tower), sort_keys=True).encode())
        for name, tensor in sorted(self.clip.state_dict().items()):
            if belongs_to(name, tower):
                digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def _settings(self, tower: Tower) -> dict[str, Any]:
        shared = {key: self.definition.get(key) for key in ("embed_dim", "quick_gelu")}
        if tower == "text":
            return {**shared, "text_cfg": self.definition["text_cfg"]}
        vision = {
            "vision_cfg": self.definition["vision_cfg"],
            "size": self.image_input.size,
            "mean": self.image_input.mean,
            "std": self.image_input.std,
            "preprocess": self.preprocess.identity(),
        }
        return {**shared, **vision}


def belongs_to(name: str, tower: Tower) -> bool:
    """Whether a tensor of an open_clip model belongs to a tower. CLIP's logit scale and bias belong to neither."""
    return name not in TEMPERATURE and name.startswith("visual.") == (tower == "image")


def save_encoder(encoder: Encoder, folder: Path) -> None:
    """Writes an encoder folder for `load_encoder` and open_clip's `local-dir:`. The manifest is written last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    preprocess = {
        "mean": encoder.image_input.mean,
        "std": encoder.image_input.std,
        "size": encoder.image_input.size,
    }
    write_json(folder / DEFINITION, {"model_cfg": encoder.definition, "preprocess_cfg": preprocess})
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.clip.state_dict().items()}
    with replacing(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary)
    if hasattr(encoder.tokenizer, "tokenizer") and hasattr(encoder.tokenizer.tokenizer, "save_pretrained"):
        encoder.tokenizer.tokenizer.save_pretrained(folder)
    manifest = {
        "preprocess": encoder.preprocess.model_dump(),
        "image_fingerprint": encoder.fingerprint("image"),
        "text_fingerprint": encoder.fingerprint("text"),
    }
    write_json(folder / MANIFEST, manifest)


def load_encoder(folder: Path, device: str | torch.device = "cpu") -> Encoder:
    """Loads an encoder from its folder.

    Raises:
        BundleError: the folder is incomplete, or its weights do not match its definition.
    """
    manifest = read_manifest(folder)
    for name in (DEFINITION, WEIGHTS):
        if not (folder / name).is_file():
            raise BundleError(f"{folder} is not a complete encoder folder ({name} is missing): write it again")
    config = read_json(folder / DEFINITION)
    source = f"local-dir:{folder}"
    register_towers()
    try:
        clip = open_clip.create_model(source)
    except (RuntimeError, ValueError, FileNotFoundError, SafetensorError) as error:
        raise BundleError(f"{folder} does not load: {error}") from None
    given = config["preprocess_cfg"]
    image_input = ImageInput(int(given["size"]), tuple(given["mean"]), tuple(given["std"]))
    preprocess = Preprocess.stored(manifest["preprocess"])
    encoder = Encoder(clip, config["model_cfg"], open_clip.get_tokenizer(source), image_input, preprocess)
    return encoder.to(device)


@torch.no_grad()
def load_trained(encoder: Encoder, tensors: Mapping[str, Tensor], blend: float = 1.0) -> None:
    """Sets an encoder's weights to those that a stage trained, or interpolates towards them.

    Args:
        encoder: an encoder with the weights that the stage started from.
        tensors: "clip.<parameter>" -> trained values; other entries, such as the stage's temperature, are ignored.
        blend: 1 = the trained weights; 0 < blend < 1 = start + blend x (trained - start), which preserves accuracy
            outside the training distribution (WiSE-FT, Wortsman et al., 2022, equation 1).
    """
    for name, parameter in encoder.clip.named_parameters():
        trained = tensors.get(f"clip.{name}")
        if trained is not None:
            parameter.lerp_(trained.to(parameter), blend)
