"""Evaluates a bundle on a split of any dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cirray.cluster.device import use_gpu
from cirray.cluster.session import connect
from cirray.config.evaluation import EvaluateConfig, SplitConfig
from cirray.data.attribute_values import read_items
from cirray.data.load import load_dataset
from cirray.data.records import Dataset
from cirray.data.table import TripletTable, build_table
from cirray.errors import ConfigError
from cirray.evaluation.attributes_kept import AttributeTable
from cirray.evaluation.evaluate import Result, reranked_name, score, text_table
from cirray.evaluation.kept_in_split import attribute_table
from cirray.evaluation.reranked import RerankedTop
from cirray.evaluation.titles import title_recall
from cirray.features.ensure import Embedder
from cirray.features.frozen import FrozenFeatures
from cirray.models.bundle import load, load_combining
from cirray.models.bundle_manifest import MANIFEST, RERANKER_SETTINGS, read_bundle
from cirray.models.bundle_reranker import required_reranker
from cirray.models.combining import CombiningFunction
from cirray.models.combining.sum import Sum
from cirray.storage.location import Location
from cirray.storage.provenance import provenance


@dataclass(frozen=True, slots=True)
class Prepared:
    """A bundle, loaded with the data and features to rank one split.

    Attributes:
        folder: the bundle's folder on this machine.
        manifest: the bundle's manifest.
        table: the triplets of the split.
        features: the dataset's images, and the captions of the split under its name.
        combining: the bundle's combining function.
    """

    folder: Path
    manifest: dict[str, Any]
    dataset: Dataset
    table: TripletTable
    features: FrozenFeatures
    combining: CombiningFunction


def evaluate_bundle(
    bundle: Path | str, config: EvaluateConfig, split: str, with_titles: bool = False
) -> tuple[dict[str, Any], str]:
    """Scores a bundle's combining function, and Sum for comparison, on one split.

    Args:
        bundle: folder or URI.
        config: the data, how its features are computed, and whether the bundle's reranker is scored too.
        split: name of the split.
        with_titles: whether to score the titles of the split's gallery as queries of text alone too.

    Returns:
        The report for JSON, and the table as text.

    Raises:
        BundleError: the bundle is incomplete, damaged or incompatible, or has no reranker although one is asked for.
        DataError, ConfigError: the data cannot be used, the split has no targets, or titles are asked for and no image
            of the gallery has one.
    """
    ready = prepare(bundle, config, split, needs_targets=True)
    dataset, function = ready.dataset, ready.manifest["combining"]["function"]
    functions: dict[str, CombiningFunction] = {"sum": Sum(), function: ready.combining}
    attributes = attribute_table(read_items(config.data.root), dataset)
    fine_tuned = ready.manifest["fine_tuned"]
    results = score(split, ready.table, dataset.protocol, ready.features, functions, fine_tuned, attributes)
    results += _score_reranked(ready, split, config.rerank.top, attributes)
    report = {
        "bundle": str(bundle),
        "dataset": dataset.name,
        "protocol": dataset.protocol.name,
        "skipped": [str(problem) for problem in dataset.skipped],
        "provenance": provenance(),
        "results": [result.to_json() for result in results],
    }
    table = text_table(results, dataset.protocol)
    if with_titles:
        report["titles"] = found = _score_titles(ready, split, config)
        table += "\ntitle -> image: " + ", ".join(f"{name} {found[name]:.2f}" for name in found if "@" in name)
        table += f" ({found['queries']:,} titles, {found['gallery']:,} images)"
    return report, table


def _score_reranked(ready: Prepared, split: str, top: int, attributes: AttributeTable | None) -> list[Result]:
    """Returns the results of the bundle's combining function with its first `top` results reranked; [] if `top` is 0.

    Raises:
        BundleError: the bundle has no reranker.
    """
    if not top:
        return []
    second = RerankedTop(required_reranker(ready.folder, ready.manifest), top)
    manifest = ready.manifest
    name = reranked_name(manifest["combining"]["function"], manifest[RERANKER_SETTINGS]["function"], top)
    functions = {name: ready.combining}
    protocol, fine_tuned = ready.dataset.protocol, manifest["fine_tuned"]
    return score(split, ready.table, protocol, ready.features, functions, fine_tuned, attributes, second)


def _score_titles(ready: Prepared, split: str, config: SplitConfig) -> dict[str, float]:
    """Returns title -> image recall over all images of the split's galleries, whatever their category."""
    rows = sorted({int(row) for _, gallery in ready.table.categories.values() for row in gallery})
    ids = list(ready.dataset.images)
    images = [ids[row] for row in rows]
    queries = sum(image in ready.dataset.titles for image in images)
    if not queries:
        raise ConfigError(f"--titles needs images with titles, and split {split} of {ready.dataset.name} has none")
    model = load(ready.folder, "cuda" if use_gpu(config.compute, config.workers) else "cpu")
    found = title_recall(model, images, ready.features.unit_images[rows], ready.dataset.titles)
    return {**{name: round(value, 4) for name, value in found.items()}, "queries": queries, "gallery": len(images)}


def prepare(bundle: Path | str, config: SplitConfig, split: str, needs_targets: bool) -> Prepared:
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
    return Prepared(folder, manifest, dataset, table, features, load_combining(folder, manifest))
