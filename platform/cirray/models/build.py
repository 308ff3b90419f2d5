"""Builds an encoder from a backbone's name and its weights: published, local or random."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

from cirray.config.backbone import Backbone
from cirray.config.data import Preprocess
from cirray.errors import BackboneError
from cirray.models.clip import Encoder, ImageInput


def build_encoder(backbone: Backbone, preprocess: Preprocess, seed: int) -> Encoder:
    """Builds an encoder with published, local or random weights.

    Args:
        backbone: model name or definition file, and the source of its weights.
        preprocess: how picture files become pixels.
        seed: seed of random weights.

    Raises:
        BackboneError: no such model or tag, or the weights cannot be fetched or do not fit.
    """
    definition = _definition(backbone)
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(seed)
        (Path(folder) / "open_clip_config.json").write_text(json.dumps({"model_cfg": definition}), encoding="utf-8")
        if backbone.pretrained:
            clip: Any = _pretrained(backbone, definition)
            tokenizer = open_clip.get_tokenizer(backbone.model)
        else:
            clip = open_clip.create_model(f"local-dir:{folder}")
            tokenizer = _tokenizer(backbone, folder)
        if backbone.weights:
            _load_weights(clip, backbone.weights)
    config = open_clip.get_model_preprocess_cfg(clip)
    size = clip.visual.image_size
    image_input = ImageInput(size[0] if isinstance(size, tuple) else size, tuple(config["mean"]), tuple(config["std"]))
    return Encoder(clip, definition, tokenizer, image_input, preprocess)


def _definition(backbone: Backbone) -> dict[str, Any]:
    bundled = resources.files("cirray").joinpath("models", "definitions", f"{backbone.model}.json")
    definition: dict[str, Any] | None
    if backbone.model.endswith(".json"):
        path = Path(backbone.model)
        if not path.is_file():
            raise BackboneError(f"backbone.model: the file {path} does not exist")
        definition = json.loads(path.read_text(encoding="utf-8"))
    elif bundled.is_file():
        definition = json.loads(bundled.read_text(encoding="utf-8"))
    else:
        definition = open_clip.get_model_config(backbone.model)
    if definition is None:
        raise BackboneError(
            f"backbone.model is {backbone.model!r}, which open_clip does not have: give one of its names "
            f"(python -c 'import open_clip; print(open_clip.list_models())'), cirray-tiny, or a .json definition"
        )
    if backbone.pretrained and _wants_quick_gelu(backbone):
        definition["quick_gelu"] = True
    return definition


def _wants_quick_gelu(backbone: Backbone) -> bool:
    """Whether the weights were trained with QuickGELU, as OpenAI's were; the plain model name implies GELU."""
    tag = get_pretrained_cfg(backbone.model, backbone.pretrained or "")
    return bool(tag and tag.get("quick_gelu", False))


def _pretrained(backbone: Backbone, definition: dict[str, Any]) -> torch.nn.Module:
    tags = list_pretrained_tags_by_model(backbone.model)
    if backbone.pretrained not in tags:
        raise BackboneError(
            f"backbone.pretrained is {backbone.pretrained!r}, but {backbone.model} has: {', '.join(tags) or 'none'}. "
            f"For local weights set backbone.weights"
        )
    try:
        quick = bool(definition.get("quick_gelu", False))
        return open_clip.create_model(backbone.model, pretrained=backbone.pretrained, force_quick_gelu=quick)
    except Exception as error:  # the hub, urllib and torch raise unrelated types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BackboneError(
            f"cannot fetch the {backbone.pretrained!r} weights of {backbone.model}: {reason}. Run once with access to "
            f"the model hub and keep its cache (HF_HOME), or give a local file with --backbone.pretrained null "
            f"--backbone.weights FILE"
        ) from None


def _tokenizer(backbone: Backbone, folder: str) -> Any:
    if open_clip.get_model_config(backbone.model) is not None:
        return open_clip.get_tokenizer(backbone.model)
    return open_clip.get_tokenizer(f"local-dir:{folder}")


def _load_weights(clip: torch.nn.Module, weights: str) -> None:
    path = Path(weights)
    if not path.is_file():
        raise BackboneError(f"backbone.weights: the file {weights} does not exist")
    try:
        open_clip.load_checkpoint(clip, str(path), weights_only=True)
    except Exception as error:  # torch, zipfile, pickle and safetensors raise unrelated types
        reason = str(error).strip()[:500] or type(error).__name__
        raise BackboneError(f"backbone.weights {weights} does not load into this backbone: {reason}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences open_clip's warnings about random initialisation, which is intended here."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(disabled)
