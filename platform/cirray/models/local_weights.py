"""Loads a local weights file into an open_clip model, and refuses weights that were trained with another activation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from torch import nn

from cirray.config.backbone import Backbone
from cirray.errors import BackboneError
from cirray.models.encoder_manifest import DEFINITION
from cirray.models.torchscript import is_torchscript, read_tensors
from cirray.storage.files import read_json

_QUICK = "-quickgelu"
# Tensors in OpenAI's archives that are not weights.
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")


def check_weights(backbone: Backbone, definition: Mapping[str, Any]) -> None:
    """Checks that `backbone.weights` exists and was trained with the model's activation function.

    The tensors do not show the activation function: it is known of OpenAI's TorchScript archives (QuickGELU) and of
    files with an open_clip_config.json beside them. Other files are not checked.

    Raises:
        BackboneError: the file does not exist, or the model has GELU in place of QuickGELU or the other way round.
    """
    path = Path(backbone.weights or "")
    if not path.is_file():
        raise BackboneError(f"backbone.weights: the file {path} does not exist")
    scripted, beside = is_torchscript(path), _config_beside(path)
    if scripted or "model_cfg" in beside:
        quick = scripted or bool(beside["model_cfg"].get("quick_gelu", False))
        if quick != bool(definition.get("quick_gelu", False)):
            raise BackboneError(_wrong_activation(backbone, quick, scripted))


def load_weights(clip: nn.Module, backbone: Backbone) -> None:
    """Loads `backbone.weights`: a .safetensors file, a .pt file of tensors, or OpenAI's TorchScript archive.

    Raises:
        BackboneError: the file is damaged or does not fit the model.
    """
    path = Path(backbone.weights or "")
    try:
        if is_torchscript(path):
            tensors = read_tensors(path)
            clip.load_state_dict({name: tensors[name] for name in tensors if not _is_constant(name)})
        else:
            open_clip.load_checkpoint(clip, str(path), weights_only=True)
    except Exception as error:  # torch, zipfile, pickle and safetensors raise unrelated types
        reason = str(error).strip()[:500] or type(error).__name__
        raise BackboneError(f"backbone.weights {path} does not load into this backbone: {reason}") from None


def local_normalization(backbone: Backbone) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Returns the mean and standard deviation of the channels that a local weights file was trained with.

    They are those of the open_clip_config.json beside the file, else those of the model's published weights if all of
    them have the same; None if neither says.
    """
    given = _config_beside(Path(backbone.weights or "")).get("preprocess_cfg", {})
    published = [
        get_pretrained_cfg(backbone.model, tag) for tag in list_pretrained_tags_by_model(backbone.model) if not given
    ]
    found = {(tuple(one["mean"]), tuple(one["std"])) for one in (given, *published) if "mean" in one and "std" in one}
    return found.pop() if len(found) == 1 else None


def _wrong_activation(backbone: Backbone, quick: bool, scripted: bool) -> str:
    plain = backbone.model.removesuffix(_QUICK)
    name = plain + _QUICK if quick else plain
    known = open_clip.get_model_config(name) is not None
    remedy = f"give --backbone.model {name}" if known else f'set "quick_gelu": {str(quick).lower()} in the definition'
    origin = "a TorchScript archive, as OpenAI published them" if scripted else f"says {DEFINITION} beside it"
    trained, has = ("QuickGELU", "GELU") if quick else ("GELU", "QuickGELU")
    return (
        f"backbone.weights {backbone.weights} were trained with {trained} ({origin}), but backbone.model "
        f"{backbone.model} has {has}: {remedy}"
    )


def _config_beside(weights: Path) -> dict[str, Any]:
    path = weights.with_name(DEFINITION)
    return dict(read_json(path)) if path.is_file() else {}


def _is_constant(name: str) -> bool:
    return name in _NOT_WEIGHTS or name.endswith("attn_mask")
