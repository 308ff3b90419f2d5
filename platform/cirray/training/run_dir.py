"""The output of a run: its layout, and whether a command may continue it.

OUTPUT/
├── config.yaml       the complete configuration
├── run.json          provenance and a digest of the data
├── metrics.jsonl     one row per validated epoch
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
from cirray.storage.location import Location
from cirray.storage.provenance import provenance

CONFIG = "config.yaml"
RUN = "run.json"
METRICS = "metrics.jsonl"
REPORT = "report.json"
BUNDLE = "bundle"
QUERIES = "queries.png"
# Below each stage: its checkpoints while it trains.
CHECKPOINTS = "checkpoints"
# Fields that may change between a run and its continuation: where and how fast it runs, not what it computes.
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


def open_output(config: TrainConfig, free: tuple[str, ...] = FREE) -> Location:
    """Returns the output of a run, after a check that it is new or belongs to the same configuration.

    Args:
        free: fields that may differ.

    Raises:
        ConfigError: no output folder was named.
        RunError: the folder belongs to something else; names what differs.
    """
    if not config.output:
        raise ConfigError("output is not set: give --output DIR, the folder for everything this run makes")
    output = Location.parse(config.output).resolve()
    output.pull(without=CHECKPOINTS)
    folder = output.local
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{output} is a file: give --output another name")
    if not (folder / CONFIG).is_file():
        if folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise RunError(f"{output} holds something that is not a cirray run: give --output a new or empty folder")
        return output
    differences = _differences(_read(folder / CONFIG, type(config)), config.model_dump(mode="json"), free)
    if differences:
        raise RunError(
            f"{output} belongs to a run with other settings:\n"
            + "\n".join(f"  {line}" for line in differences)
            + "\nUse another --output, or delete the folder to start anew"
        )
    return output


def claim(output: Location, config: TrainConfig, dataset: Dataset) -> None:
    """Writes the configuration and provenance into the output, or checks that the data is still the same.

    Raises:
        RunError: the folder belongs to a run on other data.
    """
    digest = data_digest(dataset)
    run = output.local / RUN
    if run.is_file() and read_json(run)["data"] != digest:
        raise RunError(
            f"{output} belongs to a run on other data (annotations or pictures changed since): "
            f"use another --output, or delete the folder to start anew"
        )
    write_text(output.local / CONFIG, config.to_yaml())  # first: it makes the folder ours, whenever a kill comes
    write_json(run, {**provenance(config.seed), "data": digest})
    for name in (CONFIG, RUN):
        (output / name).push()


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
    """Returns the configuration of a run; fields that came later are as by default, or as runs were before them."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    settings = own_fields(root, content)
    settings["preprocess"] = {"color": "as-stored", **settings.get("preprocess", {})}  # as before this field
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
