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

from cirray.config import Config
from cirray.data.triplets import Dataset
from cirray.errors import ConfigError, RunError
from cirray.files import read_json, write_json, write_text
from cirray.provenance import provenance

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
    "serve",
)


class Output:
    """A run's folder, opened for a configuration and a dataset."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics = folder / "metrics.jsonl"
        self.report = folder / "report.json"
        self.bundle = folder / "bundle"
        self.queries = folder / "queries.png"

    def step(self, name: str) -> Path:
        """Returns the folder of one step."""
        return self.folder / name


def open_output(config: Config, free: tuple[str, ...] = FREE) -> Output:
    """Checks that the folder is new or belongs to the same configuration.

    Args:
        free: fields that may differ.

    Raises:
        ConfigError: no output folder was named.
        RunError: the folder belongs to something else; names what differs.
    """
    if not config.output:
        raise ConfigError("output is not set: give --output DIR, the folder for everything this run makes")
    folder = Path(config.output).expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file: give --output another name")
    if not (folder / CONFIG).is_file():
        if folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise RunError(f"{folder} holds something that is not a cirray run: give --output a new or empty folder")
        return Output(folder)
    before = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    differences = _differences(before, config.model_dump(mode="json"), free)
    if differences:
        raise RunError(
            f"{folder} belongs to a run with other settings:\n"
            + "\n".join(f"  {line}" for line in differences)
            + "\nUse another --output, or delete the folder to start anew"
        )
    return Output(folder)


def claim(output: Output, config: Config, dataset: Dataset) -> None:
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
