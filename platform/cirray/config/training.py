"""The training stages, and the configuration of a training run."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from cirray.config.backbone import Backbone
from cirray.config.compute import Compute, Embedding
from cirray.config.data import Preprocess, TrainData
from cirray.config.registry import COMBINING_FUNCTIONS, one_of
from cirray.config.reranking import RerankerSettings
from cirray.config.section import Fraction, JobConfig, Positive, Section


class ContrastiveLoss(Section):
    """The contrastive loss (paper equation 1) of one stage."""

    temperature: float = Field(0.01, gt=0.0, description="divisor of the cosine similarity; 0.01 in the paper")
    learn_temperature: bool = Field(False, description="train the temperature, initialised with that value")
    mask_duplicates: bool = Field(False, description="exclude duplicates of a query's target from its negatives")


class BatchLoss(ContrastiveLoss):
    """The loss of stage 1, with in-batch negatives."""

    negatives: Literal["batch", "references"] = Field(
        "batch",
        description="batch = the batch's targets (the paper); references = its reference images too, with duplicates "
        "masked",
    )


class GalleryLoss(ContrastiveLoss):
    """The loss of stage 2. Image features are frozen, so every gallery image can be a negative without encoding it."""

    negatives: Literal["batch", "gallery"] = Field(
        "batch", description="batch = the batch's targets (the paper); gallery = the whole train gallery"
    )
    hard: int = Field(0, ge=0, description="mined hard negatives per query, refreshed every epoch; 0 disables")

    @model_validator(mode="after")
    def _gallery_has_all(self) -> GalleryLoss:
        if self.hard and self.negatives == "gallery":
            raise ValueError("hard negatives are part of the gallery already: set hard 0, or negatives batch")
        return self


class Optimisation(Section):
    """The optimisation of one stage. `batch_size` is global: the sum over all workers."""

    optimizer: Literal["adam", "adamw"] = Field("adamw", description="optimizer")
    lr: float = Field(2e-6, gt=0.0, description="peak learning rate")
    betas: tuple[float, float] = Field((0.9, 0.999), description="Adam's decay rates of the first and second moment")
    eps: float = Field(1e-7, gt=0.0, description="Adam's epsilon")
    weight_decay: float = Field(0.01, ge=0.0, description="weight decay; never applied to the temperature")
    schedule: Literal["constant", "cosine"] = Field("constant", description="learning rate schedule after the warm-up")
    warmup: Fraction = Field(0.0, description="linear learning rate warm-up, as a fraction of all steps")
    clip_norm: float | None = Field(None, gt=0.0, description="maximum gradient norm; null = no clipping")
    ema: float | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="decay per step of an exponential moving average of the weights, which is evaluated and saved; "
        "null = none",
    )
    batch_size: Positive = Field(512, description="triplets per step, over all workers")
    chunk: Positive | None = Field(
        None,
        description="triplets per forward pass of a worker; cached gradients keep the loss of the whole batch; null = "
        "the worker's whole share",
    )
    epochs: Positive = Field(300, description="maximum number of epochs")
    patience: Positive | None = Field(None, description="stop after this many validations without improvement")
    validate_every: Positive = Field(1, description="epochs between validations; each writes a checkpoint")
    drop_last: bool = Field(False, description="drop the last, incomplete batch of an epoch, as in the paper")


class Stage0(Section):
    """Stage 0 (not in the paper): contrastive image-title training from random weights."""

    former_names: ClassVar = {"contrast": "loss"}

    enabled: bool = Field(False, description="train this stage")
    loss: ContrastiveLoss = ContrastiveLoss(temperature=0.07, learn_temperature=True, mask_duplicates=True)
    optimisation: Optimisation = Optimisation(
        lr=1e-3, weight_decay=0.1, eps=1e-8, betas=(0.9, 0.98), schedule="cosine", warmup=0.1, epochs=30
    )
    attribute_weight: float = Field(
        0.0,
        ge=0.0,
        description="weight of a second loss: the image picks each of its attribute values in catalog.jsonl among all "
        "values of the attribute; 0 = none",
    )
    fragment_weight: float = Field(
        0.0,
        ge=0.0,
        description="weight of a third loss: the image picks a random fragment of its title among fragments of other "
        "titles; 0 = none",
    )
    max_examples: Positive | None = Field(
        None,
        description="maximum number of image-title pairs over all epochs; large catalogs get fewer epochs, at least "
        "one; null = no maximum",
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations in the backward pass")


class Stage1(Section):
    """Stage 1 (paper section 3.1): fine-tune CLIP on the element-wise sum."""

    former_names: ClassVar = {"contrast": "loss"}

    enabled: bool = Field(True, description="train this stage")
    encoder: Literal["text", "image", "both"] = Field("text", description="tower to train")
    loss: BatchLoss = BatchLoss()
    optimisation: Optimisation = Optimisation()
    gradient_checkpointing: bool = Field(False, description="recompute activations in the backward pass")
    blend: float = Field(
        1.0,
        gt=0.0,
        le=1.0,
        description="weight of the fine-tuned weights in their average with the initial ones (WiSE-FT, Wortsman et "
        "al., 2022); 1 = fine-tuned weights only (the paper)",
    )


class CombiningSettings(Section):
    """The combining function of stage 2. Each function uses the fields that it needs."""

    former_names: ClassVar = {"dropout_balance": "dropout_text_weight"}

    function: Annotated[str, *one_of(COMBINING_FUNCTIONS)] = Field("combiner", description="combining function")
    projection: Positive = Field(2560, description="p: width of the two projections")
    hidden: Positive = Field(5120, description="h: width of the hidden layers")
    dropout_projection: Fraction = Field(0.5, description="dropout rate after the projections")
    dropout_output: Fraction = Field(0.5, description="dropout rate in the output branch")
    dropout_text_weight: Fraction = Field(0.5, description="dropout rate in the branch that predicts the text weight")


class Stage2(Section):
    """Stage 2 (paper section 3.2): train the combining function with CLIP frozen."""

    former_names: ClassVar = {"contrast": "loss"}

    enabled: bool = Field(True, description="train this stage")
    combining: CombiningSettings = CombiningSettings()
    loss: GalleryLoss = GalleryLoss()
    optimisation: Optimisation = Optimisation(optimizer="adam", lr=2e-5, eps=1e-8, weight_decay=0.0, batch_size=4096)


class Stage3(Section):
    """Stage 3 (not in the paper): train a reranker on the mistakes of stage 2, with everything else frozen."""

    enabled: bool = Field(False, description="train this stage")
    reranker: RerankerSettings = RerankerSettings()
    top: int = Field(50, ge=2, description="candidates per query: the best-ranked images of the train gallery")
    loss: ContrastiveLoss = ContrastiveLoss(temperature=0.05, learn_temperature=True, mask_duplicates=True)
    optimisation: Optimisation = Optimisation(
        lr=1e-3, eps=1e-8, schedule="cosine", warmup=0.05, batch_size=256, epochs=4
    )


class TrainConfig(JobConfig):
    """The configuration of a training run."""

    recipe: str = Field("custom", description="name of the recipe that the configuration started from")
    seed: int = Field(0, ge=0, lt=2**31, description="random seed")
    ablation: bool = Field(False, description="also train stage 2 without stage 1, for the paper's four-row table")
    data: TrainData = TrainData()
    preprocess: Preprocess = Preprocess()
    backbone: Backbone = Backbone()
    stage0: Stage0 = Stage0()
    stage1: Stage1 = Stage1()
    stage2: Stage2 = Stage2()
    stage3: Stage3 = Stage3()
    embed: Embedding = Embedding()
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _batches_are_shared(self) -> TrainConfig:
        for name in ("stage0", "stage1", "stage2", "stage3"):
            stage = getattr(self, name)
            batch = stage.optimisation.batch_size
            if stage.enabled and batch < self.workers:
                raise ValueError(
                    f"{name}.optimisation.batch_size is {batch}, less than the number of workers ({self.workers}): "
                    f"raise it or lower workers"
                )
        return self
