"""A bundle of a published or local CLIP, without training."""

from __future__ import annotations

from typing import Any

from cirray.config.bundling import BundleConfig
from cirray.config.training import CombiningSettings
from cirray.errors import ConfigError
from cirray.models import bundle
from cirray.models.build import build_encoder
from cirray.models.combining.sum import Sum
from cirray.storage.location import Location
from cirray.storage.provenance import provenance


def write_untrained(config: BundleConfig) -> dict[str, Any]:
    """Writes a bundle of `config.backbone` to `config.output`. It combines image and text features by their sum.

    Returns:
        The JSON report: the model, where its weights come from, and its sizes.

    Raises:
        ConfigError: `config.output` is not set, or no weights are named.
        BackboneError: no such model, or its weights cannot be fetched or do not fit.
    """
    if not config.output:
        raise ConfigError("--output DIR is missing: the folder or URI that gets the bundle")
    backbone = config.backbone
    if not backbone.weights_source:
        raise ConfigError(
            f"no weights of {backbone.model} are named, and with random ones search finds nothing: give "
            f"--backbone.pretrained TAG (published weights, such as openai), --backbone.weights FILE (a local file), "
            f"or --backbone.model hf-hub:OWNER/NAME"
        )
    encoder = build_encoder(backbone, config.preprocess, 0)
    details = {
        "backbone": backbone.model,
        "recipe": "untrained",
        "fine_tuned": False,
        "metrics": {},
        "provenance": provenance(),
    }
    settings = CombiningSettings(function="sum")
    bundle.write(Location.parse(config.output), encoder, Sum(), settings, details)
    return {
        "bundle": config.output,
        "backbone": backbone.model,
        "weights": backbone.weights_source,
        "dim": encoder.dim,
        "image_size": encoder.image_input.size,
        "combining": settings.function,
        "preprocess": config.preprocess.model_dump(),
    }
