"""Rankings of a split as lists of names: for a dataset's test server, or for jobs/score.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cirray.config.evaluation import EvaluateConfig
from cirray.data.formats import load_format
from cirray.data.records import Protocol
from cirray.data.table import TripletTable
from cirray.errors import ConfigError
from cirray.evaluation.bundle import prepare
from cirray.evaluation.ranking import gallery_positions, order_subset, top_k
from cirray.storage.files import write_text

# What CIRR's server takes for recall, and as many as any published R@K needs.
TOP = 50


@torch.inference_mode()
def rank_bundle(bundle: Path | str, config: EvaluateConfig, split: str, top: int = TOP) -> dict[str, Any]:
    """Ranks every query of a split with a bundle and writes the dataset's ranking files to `config.output`.

    Raises:
        BundleError: the folder is no complete bundle.
        DataError, ConfigError: the data cannot be used, or there is no output.
    """
    if not config.output:
        raise ConfigError("--output DIR is missing: the folder that gets the ranking files")
    if config.data.skip_bad:
        raise ConfigError("data.skip_bad cannot be used here: a ranking is needed of every pair, among all pictures")
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
    """Ranks every query within its category's gallery, as `recall.evaluate` does, and names what it finds.

    Args:
        names: names of the images, rows as in `table`.
        images: unit image features [I, d].
        queries: unit query features [T, d].
        top: names a list; fewer where the gallery is smaller.

    Returns:
        For each triplet the best names of its gallery, its reference removed if the protocol does so; and the names of
        its image set, best first (empty where the dataset has none).

    Raises:
        FloatingPointError: a feature is not finite.
    """
    ranked: list[list[str]] = [[] for _ in range(len(table))]
    within: list[list[str]] = [[] for _ in range(len(table))]
    for members, gallery in table.categories.values():
        place = gallery_positions(gallery, len(names))
        named = [names[row] for row in gallery.tolist()]
        exclude = place[table.reference[members]] if protocol.exclude_reference else None
        _, rows = top_k(queries[members], images[gallery], top, exclude)
        hidden = exclude.tolist() if exclude is not None else [-1] * len(members)
        subset = table.subset[members]
        subset = torch.where(subset >= 0, place[subset.clamp(min=0)], subset)
        ordered = order_subset(queries[members], images[gallery], subset)
        for at, triplet in enumerate(members.tolist()):
            ranked[triplet] = [named[row] for row in rows[at].tolist() if row != hidden[at]]
            within[triplet] = [named[row] for row in ordered[at].tolist() if row >= 0]
    return ranked, within
