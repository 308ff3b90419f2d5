"""Evaluates a bundle on a split of any dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cirray.cluster.device import use_gpu
from cirray.cluster.session import connect
from cirray.config.evaluation import EvaluateConfig
from cirray.data.load import load_dataset
from cirray.data.records import Dataset
from cirray.data.table import TripletTable, build_table
from cirray.errors import ConfigError
from cirray.evaluation.evaluate import score, text_table
from cirray.features.ensure import Embedder
from cirray.features.frozen import FrozenFeatures
from cirray.models.bundle import load_combining
from cirray.models.bundle_manifest import MANIFEST, read_bundle
from cirray.models.combining import CombiningFunction
from cirray.models.combining.sum import Sum
from cirray.storage.location import Location
from cirray.storage.provenance import provenance


@dataclass(frozen=True, slots=True)
class Prepared:
    """A bundle, loaded with the data and features to rank one split.

    Attributes:
        manifest: the bundle's manifest.
        table: the triplets of the split.
        features: the dataset's images, and the captions of the split under its name.
        combining: the bundle's combining function.
    """

    manifest: dict[str, Any]
    dataset: Dataset
    table: TripletTable
    features: FrozenFeatures
    combining: CombiningFunction


def evaluate_bundle(bundle: Path | str, config: EvaluateConfig, split: str) -> tuple[dict[str, Any], str]:
    """Scores a bundle's combining function, and Sum for comparison, on one split.

    Returns:
        The report for JSON, and the table as text.

    Raises:
        BundleError: the bundle is incomplete, damaged or incompatible.
        DataError, ConfigError: the data cannot be used, or the split has no targets.
    """
    ready = prepare(bundle, config, split, needs_targets=True)
    dataset, function = ready.dataset, ready.manifest["combining"]["function"]
    functions: dict[str, CombiningFunction] = {"sum": Sum(), function: ready.combining}
    results = score(split, ready.table, dataset.protocol, ready.features, functions, ready.manifest["fine_tuned"])
    report = {
        "bundle": str(bundle),
        "dataset": dataset.name,
        "protocol": dataset.protocol.name,
        "skipped": [str(problem) for problem in dataset.skipped],
        "provenance": provenance(),
        "results": [result.to_json() for result in results],
    }
    return report, text_table(results, dataset.protocol)


def prepare(bundle: Path | str, config: EvaluateConfig, split: str, needs_targets: bool) -> Prepared:
    """Reads the bundle and the split, and computes missing features.

    Args:
        bundle: the bundle, a folder or a URI.
        config: the data and the feature store.
        split: name of the split.
        needs_targets: whether every query must have a target.

    Raises:
        BundleError: the bundle is incomplete, damaged or incompatible.
        DataError, ConfigError: the data cannot be used, or the split lacks targets that are needed.
    """
    folder = Location.parse(bundle).fetch(MANIFEST)
    store = Location.configured(config.store, "store")
    manifest = read_bundle(folder)
    background = manifest["preprocess"]["background"]
    dataset = load_dataset(config.data, store, background, (split,))
    table = build_table(dataset, split)
    if needs_targets and bool((table.target < 0).any()):
        raise ConfigError(
            f"split {split} of {dataset.name} has no targets and cannot be scored here: write its rankings for the "
            f"test server with jobs/rank.py"
        )
    connect(config.workers)
    gpu = use_gpu(config.compute, config.workers)
    embedder = Embedder(Location.parse(folder / "encoder"), store, config.embed, config.workers, gpu)
    features = embedder.features(dataset, {split: table})
    return Prepared(manifest, dataset, table, features, load_combining(folder, manifest))
