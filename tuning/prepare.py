"""Runs the stages before the searched one, once, and reads their frozen features for the trials."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cirray.cluster.device import use_gpu
from cirray.cluster.session import connect
from cirray.config.recipe import overridden
from cirray.config.tuning import TrialsConfig
from cirray.data.table import TripletTable, build_table
from cirray.features.ensure import Embedder, image_keys, pictures_of
from cirray.features.frozen import FrozenFeatures
from cirray.models.encoder_manifest import MANIFEST
from cirray.storage.location import Location
from cirray.training.preparation import read_data
from cirray.training.run import train
from cirray.training.task import StageInputs

REPORTED = "reported"
ENCODERS = {"stage2": ("stage1/encoder", "stage0/encoder"), "stage1": ("stage0/encoder",)}  # the latest first


@dataclass(frozen=True, slots=True)
class Start:
    """Everything that trials share.

    Attributes:
        inputs: the searched stage's; `val` is the selection split.
        features: frozen features with the captions "train", "val" (of the selection split) and REPORTED; None for stage
            1, which trains the text tower that makes them.
        reported: the val split, which is reported and never chosen on; None for stage 1.
    """

    inputs: StageInputs
    features: FrozenFeatures | None
    reported: TripletTable | None

    @property
    def config(self) -> TrialsConfig:
        """The configuration that trials change."""
        config = self.inputs.config
        assert isinstance(config, TrialsConfig)
        return config


def prepare(config: TrialsConfig, base: Location) -> Start:
    """Runs or resumes the stages before the searched one in `base`, and reads their features.

    Args:
        config: with `data.holdout` set: the stages before choose their epochs on the selection split too.
    """
    stage = config.trial_stage
    base = Location.parse(str(base))  # a run of its own: with a mirror of its own
    off = {"ablation": False, "stage2.enabled": False, "stage3.enabled": False, "output": str(base)}
    if stage == "stage1":
        off["stage1.enabled"] = False
    train(overridden(config, off))
    connect(config.workers)
    dataset = read_data(config)
    made = [base / name for name in (*ENCODERS[stage], "backbone")]
    encoder = next(location for location in made if (location.local / MANIFEST).is_file())
    inputs = StageInputs(
        config=config,
        encoder=encoder,
        store=Location.configured(config.store, "store"),
        image_keys=image_keys(dataset),
        train=build_table(dataset, "train"),
        val=build_table(dataset, "selection"),
        protocol=dataset.protocol,
    )
    gpu = use_gpu(config.compute, config.workers)
    embedder = Embedder(encoder, inputs.store, config.embed, config.workers, gpu)
    if stage == "stage1":
        embedder.images(pictures_of(dataset))
        return Start(inputs, None, None)
    reported = build_table(dataset, "val")
    features = embedder.features(dataset, {"train": inputs.train, "val": inputs.val, REPORTED: reported})
    return Start(inputs, features, reported)


def with_config(start: Start, config: TrialsConfig) -> StageInputs:
    """Returns the inputs of one trial."""
    return replace(start.inputs, config=config)
