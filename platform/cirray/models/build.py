"""Builds an encoder from a backbone's name and its weights: published, of a hub repository, local or random."""

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
from open_clip.pretrained import (
    download_pretrained,
    download_pretrained_from_hf,
    get_pretrained_cfg,
    list_pretrained_tags_by_model,
)

from cirray.config.backbone import HUB, Backbone
from cirray.config.data import Preprocess
from cirray.console.log import log
from cirray.errors import BackboneError
from cirray.models.clip import Encoder, ImageInput
from cirray.models.local_weights import check_weights, load_weights, local_normalization
from cirray.models.towers import register_towers

_KEEP_CACHE = "Run once with access to the model hub and keep its cache (HF_HOME)"
_NAME_FILE = "give a model name and a local file with --backbone.model NAME --backbone.weights FILE"


def build_encoder(backbone: Backbone, preprocess: Preprocess, seed: int) -> Encoder:
    """Builds an encoder with published, local or random weights. Logs the size of fetched weights and their file.

    Args:
        backbone: model name, hub repository or definition file, and the source of its weights.
        preprocess: how picture files become pixels.
        seed: seed of random weights.

    Raises:
        BackboneError: no such model or tag, or the weights cannot be fetched or do not fit.
    """
    definition = _definition(backbone)
    if backbone.weights:
        check_weights(backbone, definition)
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(seed)
        (Path(folder) / "open_clip_config.json").write_text(json.dumps({"model_cfg": definition}), encoding="utf-8")
        clip: Any
        if backbone.is_hub_model:
            clip = _from_hub(backbone)
        elif backbone.pretrained:
            clip = _pretrained(backbone, definition)
        else:
            register_towers()
            clip = open_clip.create_model(f"local-dir:{folder}")
        if backbone.weights:
            load_weights(clip, backbone)
        tokenizer = _tokenizer(backbone, folder)
    config = open_clip.get_model_preprocess_cfg(clip)
    mean, std = (backbone.weights and local_normalization(backbone)) or (config["mean"], config["std"])
    size = clip.visual.image_size
    image_input = ImageInput(size[0] if isinstance(size, tuple) else size, tuple(mean), tuple(std))
    return Encoder(clip, definition, tokenizer, image_input, preprocess)


def _definition(backbone: Backbone) -> dict[str, Any]:
    bundled = resources.files("cirray").joinpath("models", "definitions", f"{backbone.model}.json")
    definition: dict[str, Any] | None
    if backbone.model.endswith(".json"):
        path = Path(backbone.model)
        if not path.is_file():
            raise BackboneError(f"backbone.model: the file {path} does not exist")
        definition = json.loads(path.read_text(encoding="utf-8"))
    elif backbone.is_hub_model:
        definition = _hub_definition(backbone)
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
    log(f"fetching the {backbone.pretrained!r} weights of {backbone.model}, unless they are cached")
    try:
        quick = bool(definition.get("quick_gelu", False))
        _log_weights(download_pretrained(get_pretrained_cfg(backbone.model, backbone.pretrained)))
        return open_clip.create_model(backbone.model, pretrained=backbone.pretrained, force_quick_gelu=quick)
    except Exception as error:  # the hub, urllib and torch raise unrelated types
        raise BackboneError(
            f"cannot fetch the {backbone.pretrained!r} weights of {backbone.model}: {_reason(error)}. "
            f"{_name_for_files(backbone)}{_KEEP_CACHE}, or give a local file with --backbone.pretrained null "
            f"--backbone.weights FILE"
        ) from None


def _name_for_files(backbone: Backbone) -> str:
    """Returns a sentence that names the model for a local file of these weights, where it is another model name."""
    plain = not (open_clip.get_model_config(backbone.model) or {}).get("quick_gelu", False)
    if not (plain and _wants_quick_gelu(backbone)):
        return ""
    return f"A local file of these weights needs --backbone.model {backbone.model}-quickgelu. "


def _hub_definition(backbone: Backbone) -> dict[str, Any]:
    try:
        return dict(open_clip.get_model_config(backbone.model))
    except Exception as error:  # as above
        raise BackboneError(
            f"cannot read open_clip_config.json of {backbone.model}, which makes a hub repository an open_clip model: "
            f"{_reason(error)}. {_KEEP_CACHE}, or {_NAME_FILE}"
        ) from None


def _from_hub(backbone: Backbone) -> torch.nn.Module:
    log(f"fetching the weights of {backbone.model}, unless they are cached")
    try:
        _log_weights(download_pretrained_from_hf(backbone.model.removeprefix(HUB)))
        return open_clip.create_model(backbone.model, require_pretrained=True)
    except Exception as error:  # as above
        raise BackboneError(
            f"cannot load the weights of {backbone.model}: {_reason(error)}. {_KEEP_CACHE}, or {_NAME_FILE}"
        ) from None


def _log_weights(file: str) -> None:
    log(f"weights: {Path(file).stat().st_size / 1e6:,.0f} MB in {file}")


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _tokenizer(backbone: Backbone, folder: str) -> Any:
    named = backbone.is_hub_model or open_clip.get_model_config(backbone.model) is not None
    try:
        return open_clip.get_tokenizer(backbone.model if named else f"local-dir:{folder}")
    except ModuleNotFoundError as error:
        raise BackboneError(
            f"the tokenizer of {backbone.model} needs the package {error.name}: pip install {error.name}"
        ) from None
    except OSError as error:
        raise BackboneError(
            f"cannot fetch the tokenizer of {backbone.model}: {_reason(error)}. {_KEEP_CACHE}"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences open_clip's warnings about random initialisation, which is intended here."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(disabled)
