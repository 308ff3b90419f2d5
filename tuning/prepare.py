"""Runs the stages before the searched one, once, and reads their frozen features for the trials."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cirray.cluster.device import use_gpu
from cirray.cluster.session import connect
from cirray.config.recipe import overridden
from cirray.config.schema import Config
from cirray.data.table import TripletTable, build_table
from cirray.features.embed import text_key
from cirray.features.ensure import Embedder, pictures_of
from cirray.models.encoder_manifest import MANIFEST
from cirray.storage.location import store_location
from cirray.training.run import read_data, train
from cirray.training.run_dir import Output
from cirray.training.stages.combine import Frozen
from cirray.training.task import StageInputs

ENCODERS = {"stage2": ("stage1/encoder", "stage0/encoder"), "stage1": ("stage0/encoder",)}  # the latest first


@dataclass(frozen=True, slots=True)
class Reported:
    """The val split, which is reported but never selected on: triplets, and raw features of its W captions [W, d]."""

    table: TripletTable
    captions: np.ndarray


@dataclass(frozen=True, slots=True)
class Start:
    """Inputs shared by all trials. Ray's object store maps the arrays into each trial without a copy.

    Attributes:
        inputs: inputs of the searched stage; its `val` is the selection split.
        frozen: the arrays of `Frozen` by name; empty for stage 1, which trains the text tower.
        reported: the val split; None for stage 1.
    """

    inputs: StageInputs
    frozen: dict[str, np.ndarray]
    reported: Reported | None


def prepare(config: Config, base: Output) -> Start:
    """Runs or resumes the stages before the searched one in `base`, and reads their features.

    Args:
        config: the configuration, with `data.holdout` set: earlier stages also select epochs on the selection split.
        base: the output of the earlier stages.
    """
    stage = config.tune.stage
    off = {"ablation": False, "stage2.enabled": False, "output": base.place}
    if stage == "stage1":
        off["stage1.enabled"] = False
    train(overridden(config, off))
    connect(config.workers)
    dataset = read_data(config)
    encoders = [name for name in (*ENCODERS[stage], "backbone") if (base.step(name) / MANIFEST).is_file()]
    encoder, location = base.step(encoders[0]), base.location_of(encoders[0])
    inputs = StageInputs(
        config=config,
        encoder=location,
        store=store_location(config.store),
        image_keys=tuple(dataset.contents[image] for image in dataset.images),
        train=build_table(dataset, "train"),
        val=build_table(dataset, "selection"),
        protocol=dataset.protocol,
    )
    gpu = use_gpu(config.compute, config.workers)
    embedder = Embedder(encoder, inputs.store, config.embed, config.workers, gpu, location)
    embedder.images(pictures_of(dataset))
    if stage == "stage1":
        return Start(inputs, {}, None)
    val = build_table(dataset, "val")
    texts = embedder.texts([*inputs.train.captions, *inputs.val.captions, *val.captions])
    frozen = Frozen.read(inputs)
    arrays = {name: getattr(frozen, name).numpy() for name in Frozen.__slots__}
    captions = texts.read([text_key(caption) for caption in val.captions]).numpy()
    return Start(inputs, arrays, Reported(val, captions))


def as_frozen(arrays: dict[str, np.ndarray]) -> Frozen:
    """Returns the features as tensors that share memory with the arrays."""
    return Frozen(**{name: shared_tensor(array) for name, array in arrays.items()})


def shared_tensor(array: np.ndarray) -> Tensor:
    """Returns a tensor that shares memory with a read-only array of the object store. Do not write to it."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


def with_config(start: Start, config: Config) -> StageInputs:
    """Returns the stage inputs with the configuration of one trial."""
    return replace(start.inputs, config=config)
