"""Checkpoints of CLIP4Cir -> a bundle, and back."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from cirray.config.backbone import Backbone
from cirray.config.conversion import ConvertConfig
from cirray.config.data import Preprocess
from cirray.config.training import CombiningSettings
from cirray.errors import CheckpointError, ConfigError
from cirray.interop.clip4cir.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from cirray.interop.clip4cir.shapes import (
    PUBLISHED,
    clip_definition,
    combiner_sizes,
    fitted,
    published_name,
    same_model,
)
from cirray.models import bundle
from cirray.models.build import build_encoder
from cirray.models.bundle_manifest import MANIFEST
from cirray.models.clip import Encoder, save_encoder
from cirray.models.combining import CombiningFunction
from cirray.models.combining.combiner import Combiner
from cirray.models.combining.sum import Sum
from cirray.storage.location import Location
from cirray.storage.provenance import provenance

CLIP_FILE = "tuned_clip.pt"
COMBINER_FILE = "combiner.pt"
# CLIP4Cir's names of the three paddings (its --transform).
_TRANSFORM = {"target": "targetpad", "square": "squarepad", "none": "clip"}


def import_bundle(clip: Path | None, combiner: Path | None, config: ConvertConfig) -> dict[str, Any]:
    """Makes a bundle at `config.output` of CLIP4Cir's checkpoints; returns what was found in them.

    Args:
        clip: the fine-tuned CLIP; None for the published weights that `config.backbone` names.
        combiner: the Combiner; None for the sum, as after stage 1 alone.
        config: `preprocess` says how the checkpoints were trained; the recipe "clip4cir" has the reference's own.

    Raises:
        CheckpointError: a file is not what it should be, or the two do not belong together.
        BackboneError: published weights cannot be fetched.
        ConfigError: there is no output.
    """
    if not config.output:
        raise ConfigError("--output BUNDLE is missing: the folder or URI that gets the bundle")
    combining, settings, second = _read_combiner(combiner)
    encoder, name, first = _read_clip(clip, config) if clip else _published(config)
    if isinstance(combining, Combiner) and combining.text_projection_layer.in_features != encoder.dim:
        raise CheckpointError(
            f"{combiner} combines features of width {combining.text_projection_layer.in_features}, and {clip or name} "
            f"({name}) gives {encoder.dim}: they do not belong together"
        )
    found = {
        "clip_epoch": first.epoch,
        "combiner_epoch": second.epoch,
        "notes": [*first.notes, *second.notes],
    }
    details = {
        "backbone": name,
        "recipe": "clip4cir",
        "fine_tuned": clip is not None,
        "metrics": {},
        "clip4cir": found,
        "provenance": provenance(),
    }
    output = Location.parse(config.output)
    with tempfile.TemporaryDirectory() as scratch:
        save_encoder(encoder, Path(scratch))
        bundle.save(output.local, Path(scratch), combining, settings, details)
    output.push(MANIFEST)
    return {
        "bundle": config.output,
        "backbone": name,
        "dim": encoder.dim,
        "image_size": encoder.image_input.size,
        "combining": settings.model_dump(include={"function", "projection", "hidden"}),
        "preprocess": config.preprocess.model_dump(),
        **found,
    }


def _read_clip(path: Path, config: ConvertConfig) -> tuple[Encoder, str, Checkpoint]:
    checkpoint = read_checkpoint(path, "CLIP")
    definition = clip_definition(str(path), checkpoint.state)
    state, filled = fitted(str(path), checkpoint.state, definition)
    known = published_name(definition)
    encoder = _built(known, definition, config.preprocess)
    encoder.clip.load_state_dict(state)
    notes = (*checkpoint.notes, *filled)
    if known is None:
        notes = (*notes, "CLIP: no published model of OpenAI has these sizes; heads are taken to be 64 wide")
    return encoder, known or "CLIP of own sizes", Checkpoint(state, checkpoint.epoch, notes)


def _built(name: str | None, definition: Mapping[str, Any], preprocess: Preprocess) -> Encoder:
    """Builds the model by its name, or else from its definition; the weights come after."""
    if name:
        return build_encoder(Backbone(model=name), preprocess, 0)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "clip.json"
        file.write_text(json.dumps(definition), encoding="utf-8")
        return build_encoder(Backbone(model=str(file)), preprocess, 0)


def _published(config: ConvertConfig) -> tuple[Encoder, str, Checkpoint]:
    if not config.backbone.pretrained:
        raise ConfigError(
            "--clip FILE is missing. For a Combiner trained on OpenAI's CLIP as it is, name that instead: "
            "--backbone.model RN50x4 --backbone.pretrained openai"
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
    """Writes a bundle as CLIP4Cir's checkpoints, tuned_clip.pt and combiner.pt.

    Returns:
        The files, and what to give to CLIP4Cir's scripts with them.

    Raises:
        BundleError: it is no complete bundle.
        CheckpointError: CLIP4Cir has nothing that computes the same; nothing was written.
    """
    model = bundle.load(Location.parse(source).fetch(MANIFEST))
    state = {name: tensor.detach().cpu() for name, tensor in model.encoder.clip.state_dict().items()}
    name = _openai_name(source, model.encoder, state)
    function = model.manifest["combining"]["function"]
    if function not in ("combiner", "sum"):
        raise CheckpointError(f"{source} combines with {function!r}, and CLIP4Cir has only the Combiner and the sum")
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
    """Returns OpenAI's name of the encoder's model; None if OpenAI has none of these sizes.

    Raises:
        CheckpointError: OpenAI's code, which CLIP4Cir runs, would compute something else from these weights.
    """
    try:
        there = clip_definition(source, state)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}: CLIP4Cir runs OpenAI's CLIP only, which this bundle's encoder is not"
        ) from None
    if not same_model(there, encoder.definition):
        raise CheckpointError(
            f"{source}: the encoder is no CLIP of OpenAI's kind (QuickGELU, heads 64 wide): CLIP4Cir would compute "
            f"other features from its weights"
        )
    return PUBLISHED.get(published_name(there) or "")
