"""The output folder of a run: what it holds, and whether a command may continue it.

OUTPUT/
├── config.yaml       the complete configuration
├── run.json          provenance and a digest of the data
├── metrics.jsonl     a row a validated epoch
├── backbone/, stage0/, stage1/, stage2*/   what each step made; a finished one is not run again
├── report.json       results
├── queries.png       example queries with their best results
└── bundle/           the model
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cirray.config.recipe import completed, own_fields
from cirray.config.training import TrainConfig
from cirray.data.records import Dataset
from cirray.errors import ConfigError, RunError
from cirray.storage.files import read_json, write_json, write_text
from cirray.storage.location import Remote, is_remote, join, mirror_of, pull, push
from cirray.storage.provenance import provenance

CONFIG = "config.yaml"
RUN = "run.json"
# Where and how fast, not what: these may change between a run and its continuation.
FREE = (
    "output",
    "store",
    "workers",
    "recipe",
    "data.root",
    "embed",
    "compute.threads",
    "compute.max_failures",
    "compute.device",
    "index",
    "tune",
)


class Output:
    """A run's folder, opened for a configuration and a dataset; with a URI, its mirror, and the way back.

    Args:
        place: a folder, or a URI.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.folder = folder = mirror_of(place)
        self.metrics = folder / "metrics.jsonl"
        self.report = folder / "report.json"
        self.bundle = folder / "bundle"
        self.queries = folder / "queries.png"

    def step(self, name: str) -> Path:
        """Returns the folder of one step, on this machine."""
        return self.folder / name

    def location_of(self, name: str) -> str:
        """Returns where all nodes find a step: its folder, or its URI."""
        return join(self.place, name) if is_remote(self.place) else str(self.folder / name)

    def keep(self, name: str, last: str | None = None) -> None:
        """Makes a step's folder, with its file `last` at the end, or a file of the run known to all nodes."""
        path = self.folder / name
        if is_remote(self.place) and path.is_file():
            Remote(self.place).put(path, name)
        else:
            push(path, self.location_of(name), last)


def open_output(config: TrainConfig, free: tuple[str, ...] = FREE) -> Output:
    """Checks that the folder is new or belongs to the same configuration.

    Args:
        free: fields that may differ.

    Raises:
        ConfigError: no output folder was named.
        RunError: the folder belongs to something else; names what differs.
    """
    if not config.output:
        raise ConfigError("output is not set: give --output DIR, the folder for everything this run makes")
    folder = pull(config.output, without="checkpoints")
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file: give --output another name")
    if not (folder / CONFIG).is_file():
        if folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise RunError(f"{folder} holds something that is not a cirray run: give --output a new or empty folder")
        return Output(config.output)
    differences = _differences(_read(folder / CONFIG, type(config)), config.model_dump(mode="json"), free)
    if differences:
        raise RunError(
            f"{folder} belongs to a run with other settings:\n"
            + "\n".join(f"  {line}" for line in differences)
            + "\nUse another --output, or delete the folder to start anew"
        )
    return Output(config.output)


def claim(output: Output, config: TrainConfig, dataset: Dataset) -> None:
    """Writes the configuration and provenance beside the output, or checks that the data is still the same.

    Raises:
        RunError: the folder belongs to a run on other data.
    """
    digest = data_digest(dataset)
    run = output.folder / RUN
    if run.is_file() and read_json(run)["data"] != digest:
        raise RunError(
            f"{output.folder} belongs to a run on other data (annotations or pictures changed since): "
            f"use another --output, or delete the folder to start anew"
        )
    write_text(output.folder / CONFIG, config.to_yaml())  # first: it makes the folder ours, whenever a kill comes
    write_json(run, {**provenance(config.seed), "data": digest})
    output.keep(CONFIG)
    output.keep(RUN)


def data_digest(dataset: Dataset) -> str:
    """Returns a SHA-256 of all triplets, galleries, titles and picture contents."""
    digest = hashlib.sha256()
    for name in sorted(dataset.splits):
        split = dataset.splits[name]
        galleries = {category: list(ids) for category, ids in split.galleries.items()}
        rows = [
            [t.reference, list(t.captions), t.target, t.category, t.pair_id, list(t.subset)] for t in split.triplets
        ]
        digest.update(json.dumps([name, galleries, rows]).encode())
    digest.update(
        json.dumps([[key, dataset.contents[key], dataset.titles.get(key)] for key in dataset.images]).encode()
    )
    return digest.hexdigest()


def _read(file: Path, root: type[TrainConfig]) -> Any:
    """Returns the configuration of a run; fields that it does not know, since they came later, are as by default."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    settings = own_fields(root, content)
    try:
        return completed(root, settings).model_dump(mode="json")
    except ValidationError:
        return settings


def _differences(before: Any, after: Any, free: tuple[str, ...], name: str = "") -> list[str]:
    if name in free:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        keys = dict.fromkeys([*before, *after])
        return [
            line
            for key in keys
            for line in _differences(before.get(key), after.get(key), free, f"{name}.{key}" if name else key)
        ]
    return [] if before == after else [f"{name}: {before!r} there, {after!r} now"]
