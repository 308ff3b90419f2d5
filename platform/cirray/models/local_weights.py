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


def load_weights(clip: nn.Module, backbone: Backbone, definition: Mapping[str, Any]) -> None:
    """Loads `backbone.weights`: a .safetensors file, a .pt file of tensors, or OpenAI's TorchScript archive.

    Raises:
        BackboneError: the file does not exist or does not fit the model, or its weights were trained with QuickGELU and
            the model has GELU, or the other way round.
    """
    path = Path(backbone.weights or "")
    if not path.is_file():
        raise BackboneError(f"backbone.weights: the file {path} does not exist")
    try:
        scripted = is_torchscript(path)
        _check_activation(path, scripted, backbone, definition)
        if scripted:
            tensors = read_tensors(path)
            clip.load_state_dict({name: tensors[name] for name in tensors if not _is_constant(name)})
        else:
            open_clip.load_checkpoint(clip, str(path), weights_only=True)
    except BackboneError:
        raise
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


def _check_activation(path: Path, scripted: bool, backbone: Backbone, definition: Mapping[str, Any]) -> None:
    """Compares the activation function; the tensors themselves do not show which one they were trained with."""
    beside = _config_beside(path).get("model_cfg")
    if not scripted and beside is None:
        return
    quick = scripted or bool((beside or {}).get("quick_gelu", False))
    if quick == bool(definition.get("quick_gelu", False)):
        return
    plain = backbone.model.removesuffix(_QUICK)
    name = plain + _QUICK if quick else plain
    known = open_clip.get_model_config(name) is not None
    remedy = f"give --backbone.model {name}" if known else f'set "quick_gelu": {str(quick).lower()} in the definition'
    origin = "a TorchScript archive, as OpenAI published them" if scripted else f"says {DEFINITION} beside it"
    activations = ("QuickGELU", "GELU") if quick else ("GELU", "QuickGELU")
    raise BackboneError(
        f"backbone.weights {path} were trained with {activations[0]} ({origin}), but backbone.model {backbone.model} "
        f"has {activations[1]}: {remedy}"
    )


def _config_beside(weights: Path) -> dict[str, Any]:
    path = weights.with_name(DEFINITION)
    return dict(read_json(path)) if path.is_file() else {}


def _is_constant(name: str) -> bool:
    return name in _NOT_WEIGHTS or name.endswith("attn_mask")
