"""The three training stages."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from cirray.config.registry import COMBINING_FUNCTIONS, one_of
from cirray.config.section import Fraction, Positive, Section


class ContrastiveLoss(Section):
    """The contrastive loss (paper equation 1) of one stage."""

    temperature: float = Field(0.01, gt=0.0, description="the cosine is divided by this; 0.01 = the paper's scale 100")
    learn_temperature: bool = Field(False, description="make the temperature a parameter that starts there")
    mask_duplicates: bool = Field(
        False, description="do not count another copy of a query's own target in the batch as its negative"
    )


class BatchLoss(ContrastiveLoss):
    """The loss of stage 1, where the images of a batch are at hand, its references too."""

    negatives: Literal["batch", "references"] = Field(
        "batch",
        description="what a query is told from: the targets of its batch (the paper), or its reference images too "
        "(which masks duplicates)",
    )


class GalleryLoss(ContrastiveLoss):
    """The loss against frozen targets, where every image of the gallery may be a negative for nothing."""

    negatives: Literal["batch", "gallery"] = Field(
        "batch",
        description="what a query is told from: the targets of its batch (the paper), or the whole train gallery",
    )
    hard: int = Field(
        0, ge=0, description="so many wrong images that rank best for a query join its negatives, mined every epoch"
    )

    @model_validator(mode="after")
    def _gallery_has_all(self) -> GalleryLoss:
        if self.hard and self.negatives == "gallery":
            raise ValueError("hard negatives are part of the gallery already: set hard 0, or negatives batch")
        return self


class Optimisation(Section):
    """How one stage is optimised. `batch_size` is global: the sum over all workers."""

    optimizer: Literal["adam", "adamw"] = "adamw"
    lr: float = Field(2e-6, gt=0.0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(1e-7, gt=0.0)
    weight_decay: float = Field(0.01, ge=0.0)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Fraction = Field(0.0, description="share of all steps with a linearly rising learning rate")
    clip_norm: float | None = Field(None, gt=0.0, description="greatest gradient norm; none = no clipping")
    ema: float | None = Field(
        None, gt=0.0, lt=1.0, description="decay a step of the moving average of weights that is kept; none = the last"
    )
    batch_size: Positive = Field(512, description="triplets a step, over all workers")
    chunk: Positive | None = Field(
        None,
        description="triplets a worker holds activations for at a time; the loss still sees the whole global batch "
        "(cached gradients). None = all of the worker's share at once",
    )
    epochs: Positive = 300
    patience: Positive | None = Field(None, description="stop after so many validations without a better one")
    validate_every: Positive = Field(1, description="epochs from one validation and checkpoint to the next")
    drop_last: bool = Field(False, description="drop the last incomplete batch of an epoch (the paper does)")


class Stage0(Section):
    """Stage 0 (ours): contrastive image-title training, for catalogs no public CLIP knows."""

    former_names: ClassVar = {"contrast": "loss"}

    enabled: bool = False
    loss: ContrastiveLoss = ContrastiveLoss(temperature=0.07, learn_temperature=True, mask_duplicates=True)
    optimisation: Optimisation = Optimisation(
        lr=1e-3, weight_decay=0.1, eps=1e-8, betas=(0.9, 0.98), schedule="cosine", warmup=0.1, epochs=30
    )
    gradient_checkpointing: bool = False


class Stage1(Section):
    """Stage 1 (paper section 3.1): fine-tune CLIP on the element-wise sum."""

    former_names: ClassVar = {"contrast": "loss"}

    enabled: bool = True
    encoder: Literal["text", "image", "both"] = Field("text", description="which tower is trained")
    loss: BatchLoss = BatchLoss()
    optimisation: Optimisation = Optimisation()
    gradient_checkpointing: bool = Field(False, description="recompute activations in the backward pass")
    blend: float = Field(
        1.0,
        gt=0.0,
        le=1.0,
        description="share of the fine-tuned weights in the kept ones, the rest being the start's; 1 = the paper, less "
        "keeps more of what the start knew (WiSE-FT, Wortsman et al., 2022)",
    )


class CombiningSettings(Section):
    """The combining function of stage 2. Each function reads the fields that it knows."""

    former_names: ClassVar = {"dropout_balance": "dropout_text_weight"}

    function: Annotated[str, *one_of(COMBINING_FUNCTIONS)] = Field("combiner", description="which function")
    projection: Positive = Field(2560, description="p: width of the two projections")
    hidden: Positive = Field(5120, description="h: width of the hidden layers")
    dropout_projection: Fraction = 0.5
    dropout_output: Fraction = 0.5
    dropout_text_weight: Fraction = Field(0.5, description="dropout of the branch that gives lambda")


class Stage2(Section):
    """Stage 2 (paper section 3.2): train the combining function with CLIP frozen."""

    former_names: ClassVar = {"contrast": "loss"}

    enabled: bool = True
    combining: CombiningSettings = CombiningSettings()
    loss: GalleryLoss = GalleryLoss()
    optimisation: Optimisation = Optimisation(optimizer="adam", lr=2e-5, eps=1e-8, weight_decay=0.0, batch_size=4096)
