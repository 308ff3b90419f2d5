"""The study, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from cirray.bars import say
from cirray.config import Config
from cirray.data import load_dataset
from cirray.data.triplets import Dataset
from cirray.errors import ConfigError
from cirray.files import write_json, write_text
from cirray.places import store_place
from cirray.provenance import provenance
from cirray.ranking import top_k
from cirray.runtime import connect
from cirray.sheets import Example, draw_queries
from cirray.study import plots
from cirray.study.findings import (
    Finding,
    agreement,
    by_group,
    failures,
    find,
    lengths,
    ranks,
    relations,
    similarities,
    telling,
)
from cirray.study.report import claim, write_page
from cirray.study.variants import Stage, Variant, variants
from cirray.tables import TripletTable, build_table

PAGE, NUMBERS, SETTINGS = "study.html", "study.json", "config.yaml"
_FAILURES, _SHOWN = 8, 6
_ROWS = 2048


def study(stages: Sequence[Stage], name: str, config: Config, split: str) -> dict[str, Any]:
    """Measures every variant on a split; writes study.html, study.json and config.yaml to `config.output`.

    Args:
        name: what is studied, for the title.

    Returns:
        What study.json holds.

    Raises:
        DataError, ConfigError: the data cannot be used, or its split keeps its targets secret.
    """
    if not config.output:
        raise ConfigError("output is not set: give --output DIR, the folder for the report")
    dataset = load_dataset(config.data, store_place(config.store), config.preprocess.background, (split,))
    table = build_table(dataset, split)
    if bool((table.target < 0).any()):
        raise ConfigError(f"split {split} of {dataset.name} keeps its targets secret: study another one")
    connect(config.workers)
    compared = variants(stages, dataset, table, config)
    say(f"measuring {len(compared)} variants on {len(table):,} queries")
    with torch.inference_mode():
        findings = [find(variant, table) for variant in compared]
    k = telling(findings)
    result, pictures, statement = _measure(compared, findings, dataset, table, split, k)
    folder = Path(config.output)
    title = f"{name}: {dataset.name}, {split}, {len(table):,} queries; {dataset.protocol.name}"
    best = compared[-1].name
    with TemporaryDirectory() as scratch:
        sheet = Path(scratch) / "failures.png"
        _draw_failures(compared[-1], dataset, table, split, config, sheet, k)
        pictures["failure_plot"] = sheet.read_bytes()
    write_page(folder / PAGE, title, findings, statement, best, pictures)
    write_text(folder / SETTINGS, config.to_yaml())
    result = {"title": title, "claim": statement, **result, "provenance": provenance(config.seed)}
    write_json(folder / NUMBERS, result)
    say(f"{statement}\nreport    {folder / PAGE}")
    return result


@torch.inference_mode()
def _measure(
    compared: Sequence[Variant], findings: Sequence[Finding], dataset: Dataset, table: TripletTable, split: str, k: int
) -> tuple[dict[str, Any], dict[str, bytes], str]:
    """Returns the numbers, the plots by their names in the page, and the claim as a statement."""
    agreed = agreement(findings, k)
    groups = {"relation": relations(dataset.splits[split]), "length": lengths(table)}
    excluded = dataset.protocol.exclude_reference
    placed: dict[str, Tensor] = {variant.name: ranks(variant, table, excluded) for variant in compared}
    grouped = {
        kind: {name: by_group(rank, names, k) for name, rank in placed.items()} for kind, names in groups.items()
    }
    pictures = {
        "claim_plot": plots.claim_plot(findings, k),
        "similarity_plot": plots.similarity_plot({v.name: similarities(v, table) for v in compared}),
        "spectrum_plot": plots.spectrum_plot(compared, _ROWS),
        "relation_plot": plots.group_plot(grouped["relation"], k),
        "length_plot": plots.group_plot(grouped["length"], k),
    }
    if any(variant.share is not None for variant in compared):
        pictures["share_plot"] = plots.share_plot(compared)
    numbers = {
        "findings": [finding.to_json() for finding in findings],
        "agreement": {name: {"agree": found, "pairs": pairs} for name, (found, pairs) in agreed.items()},
        "recall_by": grouped,
    }
    return numbers, pictures, claim(agreed, k)


@torch.inference_mode()
def _draw_failures(
    variant: Variant, dataset: Dataset, table: TripletTable, split: str, config: Config, path: Path, k: int
) -> None:
    """Draws the worst queries of each relation."""
    names, triplets, pictures = relations(dataset.splits[split]), dataset.splits[split].triplets, dataset.images
    rank = ranks(variant, table, dataset.protocol.exclude_reference)
    worst = failures(rank, by_group(rank, names, k), names, _FAILURES)
    ids, examples = list(pictures), []
    for row in worst or [int(rank.argmax())]:
        gallery = next(images for members, images in table.categories.values() if row in members)
        hidden = (gallery == table.reference[row]).nonzero().flatten()[:1]
        exclude = hidden if dataset.protocol.exclude_reference and len(hidden) else None
        _, found = top_k(variant.query[row : row + 1], variant.gallery[gallery], _SHOWN, exclude)
        shown = [pictures[ids[int(gallery[place])]] for place in found[0]]
        triplet = triplets[row]
        caption = f"{' / '.join(triplet.captions)} (target: place {int(rank[row]) + 1:,})"
        examples.append(Example(pictures[triplet.reference], caption, shown, pictures[triplet.target or ""]))
    draw_queries(examples, f"{variant.name}: failures", config.preprocess.background, path)
