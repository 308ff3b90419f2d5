"""The number of epochs of stage 0, which depends on the size of the catalog."""

from __future__ import annotations

from cirray.config.recipe import overridden
from cirray.config.training import TrainConfig
from cirray.console.log import log


def with_limited_epochs(config: TrainConfig, titles: int) -> TrainConfig:
    """Returns the configuration with as many epochs of stage 0 as `stage0.max_examples` allows, at least one.

    Args:
        config: the configuration of the run.
        titles: number of image-title pairs.
    """
    most, epochs = config.stage0.max_examples, config.stage0.optimisation.epochs
    if not config.stage0.enabled or most is None or most >= titles * epochs:
        return config
    allowed = max(1, most // titles)
    log(f"stage0: {allowed} epochs instead of {epochs}, because stage0.max_examples is {most:,}")
    return overridden(config, {"stage0.optimisation.epochs": allowed})
