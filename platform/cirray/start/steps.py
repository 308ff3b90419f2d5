"""The steps from a product feed to a searchable index. Each keeps its result, so a later run continues."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from cirray.config.bundling import BundleConfig
from cirray.config.indexing import IndexConfig
from cirray.config.recipe import overridden
from cirray.config.section import Configuration
from cirray.config.start import StartConfig
from cirray.config.training import TrainConfig
from cirray.config.triplets import TripletsConfig
from cirray.console.log import log
from cirray.data.catalog import read_catalog
from cirray.data.made_triplets.examples import examples_of
from cirray.data.made_triplets.make import make_triplets
from cirray.errors import ConfigError, NoTripletsError, RunError
from cirray.index.build import build_index
from cirray.models.untrained import write_untrained
from cirray.start.layout import Layout, is_bundle
from cirray.storage.files import write_json, write_text
from cirray.storage.provenance import provenance
from cirray.training.run import train


def start(feed: str, config: StartConfig, trains: bool) -> dict[str, Any]:
    """Makes or continues a start in `config.output`; returns the content of start.json.

    Args:
        feed: the product feed or catalog.
        config: the configuration; weights that `config.backbone` names are indexed before any training.
        trains: whether stages 1 and 2 are trained, on triplets made from the feed.

    Raises:
        CirrayError: a setting, the feed or the weights are wrong, or a step failed.
    """
    read_catalog(feed, config.catalog)  # a feed that cannot be read fails before anything is written
    layout = Layout(Path(config.output).expanduser().resolve())
    _claim(layout, config)
    steps = _Steps(feed, layout, config)
    if is_bundle(layout.trained):
        log(f"the model in {layout.trained} is kept; to train again, delete {layout.training} and {layout.triplets}")
        steps.index(layout.trained)
    else:
        if config.backbone.weights_source:
            steps.bundle_published()
            steps.index(layout.published)
        if trains or not config.backbone.weights_source:
            steps.make_and_train(trains)
    report = {
        "catalog": feed,
        "bundle": str(layout.bundle),
        "index": config.index.path,
        "items": steps.items,
        "seconds": {name: round(seconds, 1) for name, seconds in steps.seconds.items()},
        "provenance": provenance(config.seed),
    }
    write_json(layout.report, report)
    return report


class _Steps:
    """The steps of one start, and the time that each took."""

    def __init__(self, feed: str, layout: Layout, config: StartConfig) -> None:
        self.feed = feed
        self.layout = layout
        self.config = config
        self.items = 0
        self.seconds: dict[str, float] = {}

    def bundle_published(self) -> None:
        """Writes a bundle of the named weights, which combines image and text features by their sum."""
        if is_bundle(self.layout.published):
            return
        with self._step(f"bundle of {self.config.backbone.weights_source}"):
            settings = BundleConfig(
                output=str(self.layout.published), backbone=self.config.backbone, preprocess=self.config.preprocess
            )
            write_untrained(settings)

    def index(self, bundle: Path) -> None:
        """Indexes the feed with a bundle, then makes it the current bundle."""
        with self._step(f"index of {self.feed}"):
            self.items = build_index(bundle, self.feed, _part(IndexConfig, self.config, output=""))["items"]
        self.layout.use_bundle(bundle)

    def make_and_train(self, trains: bool) -> None:
        """Makes triplets from the feed, trains on them, and indexes the feed with the trained bundle."""
        if not self._make_triplets():
            return
        with self._step("training"):
            train(_training(self.config, self.layout, trains))
        self.index(self.layout.trained)

    def _make_triplets(self) -> bool:
        """Makes the triplets, unless they are there; returns whether there are any."""
        if (self.layout.triplets / "catalog.jsonl").is_file():
            return True
        with self._step(f"triplets from {self.feed}"):
            try:
                made = make_triplets(self.feed, self.layout.triplets, _part(TripletsConfig, self.config))
            except NoTripletsError as error:
                if not self.config.backbone.weights_source:
                    raise
                log(f"nothing is trained: {error}")
                return False
            log("\n".join(examples_of(made, self.config.seed)))
        return True

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        log(f"\n== {name}")
        started = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started


def _claim(layout: Layout, config: StartConfig) -> None:
    """Writes the configuration to the output folder.

    Raises:
        ConfigError: `data.root` is set.
        RunError: the folder is not empty and not of a start, or of one with another model.
    """
    if config.data.root:
        raise ConfigError("data.root is set by this command; give your own triplets as --data.extra [DIR]")
    if layout.config.is_file():
        before = yaml.safe_load(layout.config.read_text(encoding="utf-8"))
        for section in ("backbone", "preprocess"):
            if before[section] != getattr(config, section).model_dump(mode="json"):
                raise RunError(
                    f"{layout.root} was started with another {section}: {before[section]}; give --output another folder"
                )
    elif layout.root.exists() and (not layout.root.is_dir() or any(layout.root.iterdir())):
        raise RunError(f"{layout.root} is not empty and not made by this command: give --output a new or empty folder")
    write_text(layout.config, config.to_yaml())


def _part(root: type[Any], config: Configuration, **changes: Any) -> Any:
    """Returns the fields of `config` that the configuration `root` has."""
    return root(**{**{name: getattr(config, name) for name in root.model_fields}, **changes})


def _training(config: StartConfig, layout: Layout, trains: bool) -> TrainConfig:
    """Returns the configuration of the training on the made triplets."""
    settings: dict[str, Any] = {
        "data.root": str(layout.triplets),
        "data.format": "triplets",
        "output": str(layout.training),
    }
    if not trains:
        settings |= dict.fromkeys(("stage1.enabled", "stage2.enabled", "stage3.enabled"), False)
    return overridden(_part(TrainConfig, config), settings)
