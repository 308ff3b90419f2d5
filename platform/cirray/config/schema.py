"""The one configuration: typed, validated, printable.

A recipe is a YAML file of the fields that differ from the defaults below, or from the recipe that it `extends`;
`load_recipe` makes it complete, and any field can be overridden by its dotted name (`config.command_line`). Every
model here is immutable and refuses unknown fields.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cirray.config.registry import COMBINING_FUNCTIONS, DATA_FORMATS, one_of
from cirray.errors import ConfigError

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class Section(BaseModel):
    """Base of all sections: frozen, no unknown fields, defaults validated too.

    Attributes:
        former_names: former field name -> today's, so that files written by older versions still load.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
    former_names: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _take_former_names(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not cls.former_names.keys() & values.keys():
            return values
        return {cls.former_names.get(name, name): value for name, value in values.items()}


class Data(Section):
    """Which triplets and pictures."""

    format: Annotated[str, *one_of(DATA_FORMATS)] = Field("triplets", description="layout of the dataset")
    root: str = Field("", description="folder or URI that holds the data")
    categories: tuple[str, ...] = Field(
        ("dress", "shirt", "toptee"), description="FashionIQ only: the categories to read"
    )
    gallery: Literal["split", "val-split"] = Field(
        "split",
        description="FashionIQ only: rank in the whole split file (the standard), or in the union of the split's "
        "references and targets (VAL split: easier, numbers are not comparable)",
    )
    selection: Literal["default", "arithmetic", "harmonic", "geometric", "headline"] = Field(
        "default",
        description="CIRR only: how its recalls make the one number that picks the best epoch; default = headline",
    )
    holdout: Fraction = Field(
        0.0,
        description="share of the train triplets held back to pick the best epoch (and by tuning to pick the best "
        "trial); 0 = val picks it, as the field does",
    )
    skip_bad: bool = Field(
        False, description="leave broken pictures and triplets out and list them, instead of stopping"
    )

    @model_validator(mode="after")
    def _categories_are_named(self) -> Data:
        if not self.categories:
            raise ValueError("categories must name at least one category")
        return self


class Preprocess(Section):
    """From a picture file to the pixels of the image tower (paper section 4.1: TargetPad, ratio 1.25)."""

    pad: Literal["target", "square", "none"] = Field("target", description="padding before resize and centre crop")
    ratio: float = Field(1.25, ge=1.0, description="TargetPad: the greatest long/short side ratio left as it is")
    background: Literal["white", "black"] = Field("white", description="what transparent pictures are laid on")
    convert: Literal["first", "last"] = Field(
        "first",
        description="first = turned as EXIF says, laid on the background and made RGB before all else; last = made RGB "
        "after the crop, as CLIP4Cir does, which knows neither EXIF nor transparency",
    )

    def identity(self) -> dict[str, Any]:
        """Returns what fingerprints are made of; a field that came later is left out where it changes nothing."""
        return self.model_dump(exclude={"convert"} if self.convert == "first" else None)


class Backbone(Section):
    """Which CLIP. Weights come from `pretrained`, or from a local `weights` file, or are random (neither)."""

    model: str = Field("RN50", description="open_clip name, a definition of ours (cirray-tiny), or a .json file")
    pretrained: str | None = Field(None, description="open_clip tag of published weights, such as openai")
    weights: str | None = Field(None, description="local weights file (.safetensors, or .pt read with weights_only)")

    @model_validator(mode="after")
    def _one_source(self) -> Backbone:
        if self.pretrained and self.weights:
            raise ValueError("give pretrained or weights, not both")
        return self


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


class Compute(Section):
    """What it runs on."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: a GPU a worker where the cluster has them"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="autocast precision; fp16 scales its loss")
    threads: Positive | None = Field(None, description="CPU threads a worker; none = the cores divided by the workers")
    max_failures: int = Field(3, ge=-1, description="how many worker deaths a stage survives; -1 = any number")


class Embedding(Section):
    """How frozen features are computed."""

    batch_size: Positive = Field(64, description="pictures or captions a forward pass")
    shard_rows: Positive = Field(1024, description="rows a shard file; what a kill can cost")
    inline_pictures: int = Field(256, ge=0, description="up to so many the driver computes itself, without a GPU")
    inline_captions: int = Field(16384, ge=0, description="up to so many the driver computes itself, without a GPU")


class Tuning(Section):
    """A search for good hyperparameters of one stage."""

    stage: Literal["stage1", "stage2"] = Field("stage2", description="what is searched; the stages before it run once")
    space: str = Field("combiner", description="a search space of ours, or a .yaml file")
    budget: str = Field(
        "", pattern=r"^(\d+(\.\d+)?[smh])?$", description="time for the search, such as 10m; finals come on top"
    )
    trials: int = Field(0, ge=0, description="trials of the search; 0 = as many as the budget allows")
    sampler: Literal["tpe", "random"] = Field("tpe", description="how the next trial is proposed")
    scheduler: Literal["asha", "median", "none"] = Field("asha", description="how bad trials are stopped early")
    grace: Positive = Field(1, description="epochs that every trial gets")
    reduction: int = Field(4, ge=2, description="asha: one in so many goes on at each rung")
    workers_per_trial: Positive = Field(1, description="Ray Train workers of one trial")
    concurrent: int = Field(0, ge=0, description="trials at a time; 0 = as many as there are CPUs or GPUs for")
    finalists: Positive = Field(2, description="best trials that are trained in full with several seeds")
    seeds: Positive = Field(3, description="seeds of each finalist and of the recipe itself")
    sweep: str | None = Field("stage2.loss.temperature", description="field whose effect is drawn alone")
    sweep_points: int = Field(7, ge=2, description="values of that field")

    @property
    def seconds(self) -> float | None:
        """The budget in seconds; None if there is none."""
        factors = {"s": 1.0, "m": 60.0, "h": 3600.0}
        return float(self.budget[:-1]) * factors[self.budget[-1]] if self.budget else None


class Hnsw(Section):
    """The approximate nearest-neighbour graph of an index; catalogs too small for one are searched exactly."""

    m: Positive = Field(16, description="edges a node")
    ef_construct: Positive = Field(128, description="candidates looked at while building")
    ef_search: Positive = Field(128, description="candidates looked at by a query")
    threshold_kb: Positive = Field(20_000, description="kB of vectors from which on the graph is built")


class Indexing(Section):
    """The catalog index: where it lives and how it is built (kept in each generation's manifest)."""

    path: str = Field("", description="folder or URI of the embedded index; empty = $CIRRAY_HOME/index or ~/.cache/...")
    collection: str = Field(
        "cirray", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$", description="its name on the server that QDRANT_URL names"
    )
    hnsw: Hnsw = Hnsw()
    quantization: Literal["none", "int8", "binary"] = Field(
        "none", description="int8 pays from about a million pictures on; binary wants wide features"
    )
    oversampling: float = Field(3.0, ge=1.0, description="with quantization: so many times the hits are rescored")
    filters: tuple[str, ...] | None = Field(None, description="attributes with a payload index; null = all of them")
    batch: Positive = Field(256, description="items an upload")
    keep: int = Field(2, ge=1, description="complete generations kept, the published one and its predecessors")
    max_bad: Fraction = Field(0.05, description="greatest share of catalog entries that may be unusable")
    self_queries: Positive = Field(64, description="items searched for by their own feature before publishing")
    timeout_s: float = Field(30.0, gt=0.0, description="longest wait for one answer of the server")
    attempts: Positive = Field(4, description="how often a call of the server is tried")


class Serving(Section):
    """The search service."""

    bundle: str = Field("", description="bundle folder or URI; a link to one may be moved while the service runs")
    index: str = Field("", description="folder or URI of the embedded index, as index.path")
    collection: str = Field("cirray", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$", description="as index.collection")
    name: str = Field("cirray", description="what the page calls the catalog")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 = all")
    port: int = Field(8000, ge=1, le=65535)
    ingress_replicas: Positive = Field(1, description="replicas that validate and search")
    encoder_replicas: Positive = Field(1, description="replicas that hold the model, at least")
    encoder_replicas_max: Positive = Field(1, description="replicas that hold the model under load, at most")
    scale_up_s: float = Field(30.0, ge=0.0, description="how long the load must be high before encoders are added")
    scale_down_s: float = Field(600.0, ge=0.0, description="how long it must be low before encoders are taken away")
    cpus: float = Field(0.5, gt=0.0, description="CPUs that a replica reserves")
    gpus: float = Field(0.0, ge=0.0, description="GPUs that an encoder replica reserves; with any, it runs there")
    threads: Positive | None = Field(None, description="torch threads an encoder replica; none = torch's choice")
    max_batch: Positive = Field(32, description="pictures or sentences a forward pass")
    batch_wait_s: float = Field(0.004, ge=0.0, description="how long a batch waits for company")
    max_ongoing: Positive = Field(64, description="requests a replica works on at a time")
    max_queued: Positive = Field(256, description="requests that may wait; the next is told to come again (429)")
    timeout_s: float = Field(10.0, gt=0.0, description="longest a request may take; then 504")
    drain_s: float = Field(20.0, ge=0.0, description="how long a replica that stops may finish what it has")
    poll_s: float = Field(1.0, gt=0.0, description="how often a new generation or bundle is looked for")
    max_upload_mb: float = Field(10.0, gt=0.0, le=100.0, description="greatest request body")
    max_megapixels: float = Field(
        50.0, gt=0.0, le=89.0, description="greatest uploaded picture; a small file may be huge"
    )
    decoders: Positive = Field(2, description="uploaded pictures that a replica decodes at a time")
    feedback: str = Field("", description="folder or URI for feedback; empty = $CIRRAY_HOME/feedback or ~/.cache/...")
    feedback_max_mb: float = Field(256.0, gt=0.0, description="feedback kept in that folder; then it is refused")
    pictures: str = Field("", description="folder for uploaded item pictures; empty = $CIRRAY_HOME/pictures or ...")

    @model_validator(mode="after")
    def _replicas_in_order(self) -> Serving:
        if self.encoder_replicas_max < self.encoder_replicas:
            raise ValueError(
                f"encoder_replicas_max is {self.encoder_replicas_max}, fewer than encoder_replicas, "
                f"{self.encoder_replicas}: raise it or lower encoder_replicas"
            )
        return self


class Config(Section):
    """A complete configuration."""

    recipe: str = Field("custom", description="the recipe this came from")
    output: str = Field("", description="folder or URI for everything this run makes")
    store: str = Field("", description="feature store, folder or URI; empty = $CIRRAY_HOME/store or ~/.cache/...")
    seed: int = Field(0, ge=0, lt=2**31)
    workers: Positive = Field(1, description="Ray Train workers; one CPU or GPU each")
    ablation: bool = Field(False, description="also train stage 2 without stage 1, for the paper's four-row table")
    data: Data = Data()
    preprocess: Preprocess = Preprocess()
    backbone: Backbone = Backbone()
    stage0: Stage0 = Stage0()
    stage1: Stage1 = Stage1()
    stage2: Stage2 = Stage2()
    embed: Embedding = Embedding()
    compute: Compute = Compute()
    tune: Tuning = Tuning()
    index: Indexing = Indexing()
    serve: Serving = Serving()

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        for name in ("stage0", "stage1", "stage2"):
            stage = getattr(self, name)
            batch = stage.optimisation.batch_size
            if stage.enabled and batch < self.workers:
                raise ValueError(
                    f"{name}.optimisation.batch_size is {batch}, fewer than the {self.workers} workers that share "
                    f"it: raise it or lower workers"
                )
        if self.compute.precision == "fp16" and self.compute.device == "cpu":
            raise ValueError("compute.precision fp16 needs a GPU: use bf16 or fp32 with compute.device cpu")
        return self

    def to_yaml(self) -> str:
        """Returns the complete configuration as YAML, in the order of the fields."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def recipe_names() -> list[str]:
    """Returns the names of the recipes that come with cirray."""
    folder = resources.files("cirray").joinpath("config", "recipes")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Config:
    """Builds the complete configuration of a recipe with dotted overrides applied.

    Args:
        name: a recipe of ours, or the path of a YAML file (such as a run's own `config.yaml`).
        overrides: dotted field name -> value, `{"stage1.optimisation.lr": 1e-5}`.

    Raises:
        ConfigError: no such recipe, an unknown field (with the nearest known one), or a wrong value.
    """
    settings = _resolve_recipe(name)
    settings["recipe"] = settings.get("recipe", name) if _is_file(name) else name
    for dotted in _leaves(settings):
        check_field(dotted)
    for dotted, value in (overrides or {}).items():
        check_field(dotted)
        _put(settings, dotted.split("."), value)
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_explain(error, f"recipe {name}")) from None


def overridden(config: Config, overrides: Mapping[str, Any]) -> Config:
    """Returns a configuration with some fields, by dotted name, changed.

    Raises:
        ConfigError: an unknown field (with the nearest known one), or a wrong value.
    """
    settings = config.model_dump()
    for dotted, value in overrides.items():
        check_field(dotted)
        _put(settings, dotted.split("."), value)
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_explain(error, "these settings")) from None


def fields(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yields (dotted name, default, description) of every field, depth first."""
    for name, field in section.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from fields(annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default, field.description or ""


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _resolve_recipe(name: str, inner: tuple[str, ...] = ()) -> dict[str, Any]:
    """Reads a recipe on top of the one that it `extends`."""
    if name in inner:
        raise ConfigError(f"recipe {name} extends itself: {' -> '.join([*inner, name])}")
    settings = _read_recipe(name)
    base = settings.pop("extends", None)
    if base is None:
        return settings
    return _merged(_resolve_recipe(str(base), (*inner, name)), settings)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged


def _read_recipe(name: str) -> dict[str, Any]:
    if _is_file(name):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"recipe file {name} does not exist")
        text = path.read_text(encoding="utf-8")
    else:
        known = recipe_names()
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"no recipe named {name}.{hint} There are: {', '.join(known)}; or give a .yaml file")
        text = resources.files("cirray").joinpath("config", "recipes", f"{name}.yaml").read_text(encoding="utf-8")
    try:
        settings = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"recipe {name} is not YAML: {error}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"recipe {name} must be a mapping of fields, not a {type(settings).__name__}")
    return settings


def check_field(dotted: str) -> None:
    """Raises ConfigError, which names the nearest field, if there is no configuration field of this name."""
    known = [name for name, _, _ in fields()]
    if dotted in known:
        return
    if any(name.startswith(f"{dotted}.") for name in known):
        raise ConfigError(
            f"{dotted} is a section, not a field: give one of its fields, such as "
            f"{next(name for name in known if name.startswith(dotted + '.'))}"
        )
    section, _, leaf = dotted.rpartition(".")
    same_leaf = [name for name in known if name.rsplit(".", 1)[-1] == leaf and name.startswith(section.split(".")[0])]
    near = same_leaf[:1] or difflib.get_close_matches(dotted, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ConfigError(f"no configuration field is named {dotted}.{hint}")


def _put(settings: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        settings = settings.setdefault(part, {})
    settings[path[-1]] = value


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _explain(error: ValidationError, where: str) -> str:
    lines = [f"{where}: {error.error_count()} wrong setting(s)"]
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"]) or "configuration"
        given = "" if isinstance(item["input"], (dict, BaseModel)) else f" (given: {item['input']!r})"
        lines.append(f"  {name}: {item['msg'].removeprefix('Value error, ')}{given}")
    return "\n".join(lines)
