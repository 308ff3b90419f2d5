"""The CLIP model."""

from __future__ import annotations

from pydantic import Field, model_validator

from cirray.config.section import Section

HUB = "hf-hub:"


class Backbone(Section):
    """The CLIP model. Weights come with a hub model, from `pretrained` or from a `weights` file, or are random."""

    model: str = Field(
        "RN50", description="open_clip model name, hf-hub:OWNER/NAME, cirray-tiny, or a .json model definition"
    )
    pretrained: str | None = Field(None, description="open_clip tag of published weights, such as openai")
    weights: str | None = Field(None, description="local weights file: .safetensors, or .pt (loaded with weights_only)")

    @model_validator(mode="after")
    def _one_source(self) -> Backbone:
        if self.pretrained and self.weights:
            raise ValueError("give pretrained or weights, not both")
        if self.is_hub_model and (self.pretrained or self.weights):
            raise ValueError(f"{self.model} brings its own weights: set pretrained and weights to null")
        return self

    @property
    def is_hub_model(self) -> bool:
        """Whether definition and weights come from a repository of the Hugging Face hub."""
        return self.model.startswith(HUB)

    @property
    def weights_source(self) -> str:
        """Where the weights come from: a tag, a file, a repository of the hub; "" if they are random."""
        return self.pretrained or self.weights or (self.model if self.is_hub_model else "")
