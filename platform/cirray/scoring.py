"""Evaluates a finished bundle on any dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from cirray.bundle import load_combining
from cirray.bundle_folder import MANIFEST, read_bundle
from cirray.combiner import Sum
from cirray.config import Config
from cirray.data import load_dataset
from cirray.errors import ConfigError
from cirray.evaluation import ensure_images, ensure_texts, pictures_of, read_features, score, text_table
from cirray.places import fetch, store_place
from cirray.provenance import provenance
from cirray.runtime import connect
from cirray.tables import build_table
from cirray.training.stages import use_gpu


def evaluate_bundle(bundle: Path | str, config: Config, split: str) -> tuple[dict[str, Any], str]:
    """Scores a bundle's combining function, and Sum beside it, on one split.

    Returns:
        The JSON result, and the table as text.

    Raises:
        BundleError: the folder is no complete bundle.
        DataError, ConfigError: the data cannot be used, or its split keeps its targets secret.
    """
    folder = fetch(bundle, MANIFEST)
    manifest = read_bundle(folder)
    background = manifest["preprocess"]["background"]
    dataset = load_dataset(config.data, store_place(config.store), background, (split,))
    table = build_table(dataset, split)
    if bool((table.target < 0).any()):
        raise ConfigError(f"split {split} of {dataset.name} keeps its targets secret: it cannot be scored here")
    connect(config.workers)
    where = (folder / "encoder", store_place(config.store), config.embed, config.workers, use_gpu(config))
    images, texts = ensure_images(pictures_of(dataset), *where), ensure_texts(table.captions, *where)
    features = read_features(dataset, table, images, texts)
    functions: dict[str, nn.Module] = {"sum": Sum()}
    functions[manifest["combining"]["function"]] = load_combining(folder, manifest)
    results = score(split, table, dataset.protocol, features, functions, manifest["fine_tuned"])
    report = {
        "bundle": str(bundle),
        "dataset": dataset.name,
        "protocol": dataset.protocol.name,
        "skipped": [str(problem) for problem in dataset.skipped],
        "provenance": provenance(config.seed),
        "results": [result.to_json() for result in results],
    }
    return report, text_table(results, dataset.protocol)
