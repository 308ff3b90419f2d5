"""Writes rankings of a split as lists of names, for a dataset's test server or for jobs/score.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cirray.config.evaluation import SplitConfig
from cirray.data.formats import load_format
from cirray.data.records import Protocol
from cirray.data.table import TripletTable
from cirray.errors import ConfigError
from cirray.evaluation.bundle import prepare
from cirray.evaluation.ranking import gallery_positions, order_subset, top_k
from cirray.storage.files import write_text

# Names per ranking: CIRR's test server expects 50, and no published R@K needs more.
TOP = 50


@torch.inference_mode()
def rank_bundle(bundle: Path | str, config: SplitConfig, split: str, top: int = TOP) -> dict[str, Any]:
    """Ranks every query of a split with a bundle and writes the dataset's ranking files to `config.output`.

    Args:
        bundle: the bundle, a folder or a URI.
        config: the data, the feature store and the output.
        split: name of the split; it needs no targets.
        top: maximum names per ranking.

    Returns:
        A summary for JSON, with the paths of the files.

    Raises:
        BundleError: the bundle is incomplete, damaged or incompatible.
        DataError, ConfigError: the data cannot be used, or no output is set.
    """
    if not config.output:
        raise ConfigError("--output DIR is missing: the folder for the ranking files")
    if config.data.skip_bad:
        raise ConfigError("data.skip_bad cannot be used here: every pair must be ranked against all pictures")
    ready = prepare(bundle, config, split, needs_targets=False)
    images = ready.features.unit_images
    queries = ready.combining(*ready.features.query_inputs(split, ready.table))
    names = list(ready.dataset.images)
    ranked, within = rank_names(ready.table, ready.dataset.protocol, names, images, queries, top)
    files = load_format(config.data.format).ranking_files(ready.dataset.splits[split], ranked, within)
    for name, content in files.items():
        write_text(Path(config.output) / name, json.dumps(content))
    return {
        "bundle": str(bundle),
        "dataset": ready.dataset.name,
        "protocol": ready.dataset.protocol.name,
        "queries": len(ready.table),
        "files": [str(Path(config.output) / name) for name in files],
    }


def rank_names(
    table: TripletTable, protocol: Protocol, names: Sequence[str], images: Tensor, queries: Tensor, top: int
) -> tuple[list[list[str]], list[list[str]]]:
    """Ranks every query within its category's gallery, as `CosineRetriever` does, and returns names.

    Args:
        table: the T queries, and the galleries by category.
        protocol: the dataset's protocol, which decides whether references are removed.
        names: names of the I images, rows as in `table`.
        images: unit-length image features [I, d].
        queries: unit-length query features [T, d].
        top: maximum names per list; fewer if the gallery is smaller.

    Returns:
        For each triplet, the best names of its gallery, and the names of its image set (empty if the dataset has no
        image sets); both best first.

    Raises:
        FloatingPointError: a feature is not finite.
    """
    ranked: list[list[str]] = [[] for _ in range(len(table))]
    within: list[list[str]] = [[] for _ in range(len(table))]
    for members, gallery in table.categories.values():
        position = gallery_positions(gallery, len(names))
        gallery_names = [names[row] for row in gallery.tolist()]
        exclude = position[table.reference[members]] if protocol.exclude_reference else None
        _, rows = top_k(queries[members], images[gallery], top, exclude)
        excluded = exclude.tolist() if exclude is not None else [-1] * len(members)
        subset = table.subset[members]
        subset = torch.where(subset >= 0, position[subset.clamp(min=0)], subset)
        ordered = order_subset(queries[members], images[gallery], subset)
        for query, triplet in enumerate(members.tolist()):
            ranked[triplet] = [gallery_names[row] for row in rows[query].tolist() if row != excluded[query]]
            within[triplet] = [gallery_names[row] for row in ordered[query].tolist() if row >= 0]
    return ranked, within
