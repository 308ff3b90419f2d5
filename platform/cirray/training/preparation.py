"""What a training run needs before it starts: checked data and settings, and the encoder that it starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cirray.config.training import TrainConfig
from cirray.console.log import log
from cirray.data.attribute_classes import AttributeClasses, attribute_classes
from cirray.data.catalog import Entry
from cirray.data.extra import add_triplets, load_extra
from cirray.data.holdout import hold_back
from cirray.data.load import load_dataset
from cirray.data.records import Dataset
from cirray.errors import ConfigError
from cirray.models.build import build_encoder
from cirray.models.clip import Encoder, load_encoder
from cirray.models.encoder_manifest import MANIFEST as ENCODER_MANIFEST
from cirray.storage.location import Location


def read_data(config: TrainConfig) -> Dataset:
    """Reads and checks the data, holds out triplets for selection if `data.holdout` is set, and adds `data.extra`.

    Raises:
        ConfigError, DataError: the data cannot be used.
    """
    store, background = Location.configured(config.store, "store"), config.preprocess.background
    dataset = load_dataset(config.data, store, background)
    if config.data.holdout:
        dataset = hold_back(dataset, config.data.holdout, config.seed)
    for folder in config.data.extra:
        dataset = add_triplets(dataset, load_extra(folder, dataset, store, background, config.data.skip_bad), folder)
    for problem in dataset.skipped:
        log(f"skipped {problem}")
    return dataset


def classes_to_learn(config: TrainConfig, dataset: Dataset, items: Sequence[Entry]) -> AttributeClasses | None:
    """Returns the attribute values of the images with titles, for stage 0; None if it learns none.

    Args:
        config: the run's configuration.
        dataset: the dataset.
        items: the items of its catalog.jsonl.
    """
    if not config.stage0.enabled or not config.stage0.attribute_weight:
        return None
    classes = attribute_classes(items, titled_images(dataset))
    if classes:
        log(f"stage0 also learns the {len(classes.texts)} values of {', '.join(classes.names)}")
    return classes


def check_settings(config: TrainConfig, dataset: Dataset) -> None:
    """Checks the settings against the data.

    Raises:
        ConfigError: a setting does not fit the data; the message names it.
    """
    triplets = len(dataset.splits["train"].triplets)
    for name, stage, count in (
        ("stage0", config.stage0, len(dataset.titles)),
        ("stage1", config.stage1, triplets),
        ("stage2", config.stage2, triplets),
        ("stage3", config.stage3, triplets),
    ):
        settings = stage.optimisation
        if stage.enabled and settings.drop_last and count < settings.batch_size:
            raise ConfigError(
                f"{name}.optimisation.batch_size is {settings.batch_size}, but there are only {count} examples, so "
                f"drop_last drops every batch: lower it, or set {name}.optimisation.drop_last false"
            )
    if config.stage0.enabled and not dataset.titles:
        raise ConfigError("stage0.enabled needs images with titles, but the data has none: set it to false")


def start_encoder(config: TrainConfig, folder: Path) -> Encoder:
    """Loads the backbone from `folder` if this run has saved it there, else builds it. Writes nothing.

    Raises:
        BackboneError: the weights cannot be fetched.
        ConfigError: stage 0 cannot train this backbone.
    """
    if (folder / ENCODER_MANIFEST).is_file():
        return load_encoder(folder)
    log(f"building {config.backbone.model} ({config.backbone.weights_source or 'random weights'})")
    encoder = build_encoder(config.backbone, config.preprocess, config.seed)
    if config.stage0.enabled and encoder.has_batch_norm():
        raise ConfigError(
            f"stage0.enabled trains from scratch, but {config.backbone.model} has batch norm, whose statistics are "
            f"frozen: use a ViT backbone, or set stage0.enabled false"
        )
    return encoder


def titled_images(dataset: Dataset) -> list[str]:
    """Returns the ids of the images with titles, in the order of the image table."""
    return [image for image in dataset.images if image in dataset.titles]
