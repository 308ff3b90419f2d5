"""The CLIP model."""

from __future__ import annotations

from pydantic import Field, model_validator

from cirray.config.section import Section


class Backbone(Section):
    """The CLIP model. Weights come from `pretrained` or from a `weights` file; with neither they are random."""

    model: str = Field("RN50", description="open_clip model name, cirray-tiny, or a .json model definition")
    pretrained: str | None = Field(None, description="open_clip tag of published weights, such as openai")
    weights: str | None = Field(None, description="local weights file: .safetensors, or .pt (loaded with weights_only)")

    @model_validator(mode="after")
    def _one_source(self) -> Backbone:
        if self.pretrained and self.weights:
            raise ValueError("give pretrained or weights, not both")
        return self
