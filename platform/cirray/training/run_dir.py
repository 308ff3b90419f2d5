"""The output of a training run: its layout, and the check that a command may resume it.

OUTPUT/
├── config.yaml       the complete configuration
├── run.json          provenance and a digest of the data
├── metrics.jsonl     one row per validated epoch
├── backbone/, stage0/, stage1/, stage2*/, stage3/   output of each step; a finished step is not run again
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
from cirray.storage.location import Location
from cirray.storage.provenance import provenance

CONFIG = "config.yaml"
RUN = "run.json"
METRICS = "metrics.jsonl"
REPORT = "report.json"
BUNDLE = "bundle"
QUERIES = "queries.png"
# Folder in each stage's folder for its checkpoints, deleted when the stage is done.
CHECKPOINTS = "checkpoints"
# Fields that may change when a run is resumed: they affect where and how fast it runs, not its results.
CHANGEABLE = (
    "output",
    "store",
    "workers",
    "recipe",
    "data.root",
    "data.extra",
    "embed",
    "compute.threads",
    "compute.max_failures",
    "compute.device",
    "index",
    "tune",
)


def open_output(config: TrainConfig, changeable: tuple[str, ...] = CHANGEABLE) -> Location:
    """Returns the output of a run, after checking that it is empty or belongs to a run with the same configuration.

    Args:
        config: the configuration of the run.
        changeable: fields and sections that may differ.

    Raises:
        ConfigError: no output is set.
        RunError: the folder belongs to another run, whose different fields are listed, or is not a run.
    """
    if not config.output:
        raise ConfigError("output is not set: give --output DIR, the folder for all outputs of this run")
    output = Location.parse(config.output).resolve()
    output.pull(without=CHECKPOINTS)
    folder = output.local
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{output} is a file: give --output another name")
    if not (folder / CONFIG).is_file():
        if folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise RunError(f"{output} is not empty and not a cirray run: give --output a new or empty folder")
        return output
    differences = _differences(_read(folder / CONFIG, type(config)), config.model_dump(mode="json"), changeable)
    if differences:
        raise RunError(
            f"{output} belongs to a run with other settings:\n"
            + "\n".join(f"  {line}" for line in differences)
            + "\nUse another --output, or delete the folder to start over"
        )
    return output


def claim(output: Location, config: TrainConfig, dataset: Dataset) -> None:
    """Writes the configuration and provenance to the output, after checking that the data has not changed.

    Raises:
        RunError: the output belongs to a run on other data.
    """
    digest = data_digest(dataset)
    run = output.local / RUN
    if run.is_file() and read_json(run)["data"] != digest:
        raise RunError(
            f"{output} belongs to a run on other data (annotations or pictures have changed): "
            f"use another --output, or delete the folder to start over"
        )
    write_text(output.local / CONFIG, config.to_yaml())  # first: it marks the folder as a run, even after a kill
    write_json(run, {**provenance(config.seed), "data": digest})
    for name in (CONFIG, RUN):
        (output / name).push()


def data_digest(dataset: Dataset) -> str:
    """Returns the SHA-256 of all triplets, galleries, titles and picture contents."""
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
    """Returns a run's configuration; fields added since then have their defaults, or the value that runs had before."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    settings = own_fields(root, content)
    settings["preprocess"] = {"color": "as-stored", **settings.get("preprocess", {})}  # as before this field
    try:
        return completed(root, settings).model_dump(mode="json")
    except ValidationError:
        return settings


def _differences(before: Any, after: Any, changeable: tuple[str, ...], name: str = "") -> list[str]:
    if name in changeable:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        keys = dict.fromkeys([*before, *after])
        return [
            line
            for key in keys
            for line in _differences(before.get(key), after.get(key), changeable, f"{name}.{key}" if name else key)
        ]
    return [] if before == after else [f"{name}: {before!r} in the run, {after!r} now"]
