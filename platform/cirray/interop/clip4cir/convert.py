"""Converts CLIP4Cir checkpoints to a bundle, and a bundle to checkpoints."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from cirray.config.backbone import Backbone
from cirray.config.conversion import ConvertConfig
from cirray.config.training import CombiningSettings
from cirray.errors import CheckpointError, ConfigError
from cirray.interop.clip4cir.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from cirray.interop.clip4cir.shapes import (
    PUBLISHED,
    clip_definition,
    combiner_sizes,
    complete_state,
    published_name,
    same_model,
)
from cirray.models import bundle
from cirray.models.build import build_encoder
from cirray.models.bundle_manifest import MANIFEST
from cirray.models.clip import Encoder
from cirray.models.combining import CombiningFunction
from cirray.models.combining.combiner import Combiner
from cirray.models.combining.sum import Sum
from cirray.storage.location import Location
from cirray.storage.provenance import provenance

CLIP_FILE = "tuned_clip.pt"
COMBINER_FILE = "combiner.pt"
CUSTOM = "CLIP of custom sizes"
# Padding mode -> value of CLIP4Cir's --transform.
_TRANSFORM = {"target": "targetpad", "square": "squarepad", "none": "clip"}


def import_bundle(clip: Path | None, combiner: Path | None, config: ConvertConfig) -> dict[str, Any]:
    """Converts CLIP4Cir checkpoints to a bundle at `config.output`.

    Args:
        clip: the fine-tuned CLIP; None for the published or local weights of `config.backbone`. With a `clip`,
            weights of `config.backbone` are those that its fine-tuning started from: texts alone are encoded with them.
        combiner: the Combiner; None for the sum, as after stage 1.
        config: `preprocess` must be that of the training; the recipe "clip4cir" has CLIP4Cir's default.

    Returns:
        The JSON report: the inferred model, its sizes, epochs and notes.

    Raises:
        CheckpointError: a file is not a valid checkpoint, or the two have different feature widths.
        BackboneError: weights of `config.backbone` cannot be fetched or do not fit.
        BundleError: the text towers of `clip` and of the weights it started from have different architectures.
        ConfigError: `config.output` is not set, or neither `clip` nor weights of `config.backbone` are given.
    """
    if not config.output:
        raise ConfigError("--output BUNDLE is missing: the folder or URI that gets the bundle")
    combining, settings, combiner_checkpoint = _read_combiner(combiner)
    encoder, name, clip_checkpoint = _read_clip(clip, config) if clip else _published(config)
    pretrained = (
        _build(name, encoder.definition, config, config.backbone) if clip and config.backbone.weights_source else None
    )
    if isinstance(combining, Combiner) and combining.text_projection_layer.in_features != encoder.dim:
        raise CheckpointError(
            f"{combiner} combines features of width {combining.text_projection_layer.in_features}, but {clip or name} "
            f"({name}) has width {encoder.dim}: give the Combiner that was trained on this CLIP"
        )
    report = {
        "clip_epoch": clip_checkpoint.epoch,
        "combiner_epoch": combiner_checkpoint.epoch,
        "notes": [*clip_checkpoint.notes, *combiner_checkpoint.notes],
    }
    details = {
        "backbone": name,
        "recipe": "clip4cir",
        "fine_tuned": clip is not None,
        "metrics": {},
        "clip4cir": report,
        "provenance": provenance(),
    }
    bundle.write(Location.parse(config.output), encoder, combining, settings, details, pretrained)
    return {
        "bundle": config.output,
        "backbone": name,
        "dim": encoder.dim,
        "image_size": encoder.image_input.size,
        "combining": settings.model_dump(include={"function", "projection", "hidden"}),
        "preprocess": config.preprocess.model_dump(),
        **report,
    }


def _read_clip(path: Path, config: ConvertConfig) -> tuple[Encoder, str, Checkpoint]:
    checkpoint = read_checkpoint(path, "CLIP")
    definition = clip_definition(str(path), checkpoint.state)
    state, filled = complete_state(str(path), checkpoint.state, definition)
    known = published_name(definition)
    encoder = _build(known or CUSTOM, definition, config, Backbone())
    encoder.clip.load_state_dict(state)
    notes = (*checkpoint.notes, *filled)
    if known is None:
        notes = (*notes, "CLIP: no published OpenAI model has these sizes; attention heads are assumed to be 64 wide")
    return encoder, known or CUSTOM, Checkpoint(state, checkpoint.epoch, notes)


def _build(name: str, definition: Mapping[str, Any], config: ConvertConfig, source: Backbone) -> Encoder:
    """Builds the model by name if it has one, else from its definition, with the weights of `source`."""
    if name != CUSTOM:
        return build_encoder(source.model_copy(update={"model": name}), config.preprocess, 0)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "clip.json"
        file.write_text(json.dumps(definition), encoding="utf-8")
        return build_encoder(source.model_copy(update={"model": str(file)}), config.preprocess, 0)


def _published(config: ConvertConfig) -> tuple[Encoder, str, Checkpoint]:
    if not config.backbone.weights_source:
        raise ConfigError(
            "--clip FILE is missing. For a Combiner trained on OpenAI's published CLIP, name that model instead: "
            "--backbone.model RN50x4 --backbone.pretrained openai, or a local file of it: --backbone.model "
            "RN50x4-quickgelu --backbone.weights FILE. For a bundle of a CLIP alone, use jobs/bundle.py"
        )
    encoder = build_encoder(config.backbone, config.preprocess, 0)
    return encoder, config.backbone.model, Checkpoint({}, None, ())


def _read_combiner(path: Path | None) -> tuple[CombiningFunction, CombiningSettings, Checkpoint]:
    if path is None:
        return Sum(), CombiningSettings(function="sum"), Checkpoint({}, None, ())
    checkpoint = read_checkpoint(path, "Combiner")
    sizes = combiner_sizes(str(path), checkpoint.state)
    combining = Combiner(sizes.dim, sizes.projection, sizes.hidden)
    combining.load_state_dict(checkpoint.state)
    settings = CombiningSettings(function="combiner", projection=sizes.projection, hidden=sizes.hidden)
    return combining, settings, checkpoint


def export_bundle(source: str, output: Path) -> dict[str, Any]:
    """Exports a bundle as CLIP4Cir checkpoints, tuned_clip.pt and combiner.pt.

    Args:
        source: folder or URI of the bundle.
        output: folder to write the checkpoints to.

    Returns:
        The files, and the matching options of CLIP4Cir's scripts.

    Raises:
        BundleError: the bundle is incomplete.
        CheckpointError: CLIP4Cir cannot represent this model; nothing is written.
    """
    model = bundle.load(Location.parse(source).fetch(MANIFEST))
    state = {name: tensor.detach().cpu() for name, tensor in model.encoder.clip.state_dict().items()}
    name = _openai_name(source, model.encoder, state)
    function = model.manifest["combining"]["function"]
    if function not in ("combiner", "sum"):
        raise CheckpointError(
            f"{source} combines with {function!r}, but CLIP4Cir supports only the Combiner and the sum"
        )
    epochs = model.manifest.get("clip4cir", {})
    write_checkpoint(output / CLIP_FILE, "CLIP", state, epochs.get("clip_epoch") or 0)
    preprocess = model.encoder.preprocess
    result: dict[str, Any] = {
        "clip_model_path": str(output / CLIP_FILE),
        "clip_model_name": name,
        "combining_function": function,
        "transform": _TRANSFORM[preprocess.pad],
        "target_ratio": preprocess.ratio,
    }
    if isinstance(model.combining, Combiner):
        write_checkpoint(
            output / COMBINER_FILE, "Combiner", model.combining.state_dict(), epochs.get("combiner_epoch") or 0
        )
        sizes = {"projection_dim": model.combining.text_projection_layer.out_features}
        sizes["hidden_dim"] = model.combining.combiner_layer.out_features
        result |= {"combiner_path": str(output / COMBINER_FILE), **sizes}
    return result


def _openai_name(source: str, encoder: Encoder, state: Mapping[str, Tensor]) -> str | None:
    """Returns OpenAI's name of the encoder's architecture; None if OpenAI published none of these sizes.

    Raises:
        CheckpointError: OpenAI's code, which CLIP4Cir uses, would compute other features from these weights.
    """
    try:
        definition = clip_definition(source, state)
    except CheckpointError as error:
        raise CheckpointError(f"{error}: CLIP4Cir supports only OpenAI's CLIP architectures") from None
    if not same_model(definition, encoder.definition):
        raise CheckpointError(
            f"{source}: the encoder is not an OpenAI CLIP (QuickGELU, attention heads 64 wide): CLIP4Cir would "
            f"compute other features from its weights"
        )
    return PUBLISHED.get(published_name(definition) or "")
