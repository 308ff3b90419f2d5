"""The study, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cirray.cluster.session import connect
from cirray.config.evaluation import EvaluateConfig
from cirray.console.log import log
from cirray.data.load import load_dataset
from cirray.data.records import Dataset, Split
from cirray.data.table import TripletTable, build_table
from cirray.errors import ConfigError
from cirray.evaluation.figures import queries_png
from cirray.models.encoder_manifest import read_manifest
from cirray.storage.files import write_json, write_text
from cirray.storage.location import Location
from cirray.storage.provenance import provenance
from cirray.study import plots
from cirray.study.failures import examples, failures
from cirray.study.findings import Finding, agreement, find, telling
from cirray.study.groups import LENGTHS, by_group, lengths, relations
from cirray.study.report import claim, write_page
from cirray.study.scores import Scores, score
from cirray.study.variants import Stage, Variant, variants

PAGE, NUMBERS, SETTINGS = "study.html", "study.json", "config.yaml"
_FAILURES = 8

Groups = dict[str, dict[str, tuple[int, float]]]


@torch.inference_mode()
def study(stages: Sequence[Stage], name: str, config: EvaluateConfig, split: str) -> dict[str, Any]:
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
    store = Location.configured(config.store, "store")
    background = read_manifest(stages[0].encoder)["preprocess"]["background"]
    dataset = load_dataset(config.data, store, background, (split,))
    table = build_table(dataset, split)
    if bool((table.target < 0).any()):
        raise ConfigError(f"split {split} of {dataset.name} keeps its targets secret: study another one")
    connect(config.workers)
    compared = variants(stages, dataset, table, config)
    log(f"measuring {len(compared)} variants on {len(table):,} queries")
    scores = {variant.name: score(variant, table, dataset.protocol.exclude_reference) for variant in compared}
    findings = [find(variant, scores[variant.name], table) for variant in compared]
    k = telling(findings)
    agreed = agreement(findings, k)
    statement = claim(agreed, k)
    grouped = _grouped(scores, dataset.splits[split], table, k)
    pictures = _plots(compared, findings, scores, grouped, k)
    last = compared[-1]
    pictures["failure_plot"] = _failures(last, scores[last.name], dataset, table, split, background)
    title = f"{name}: {dataset.name}, {split}, {len(table):,} queries; {dataset.protocol.name}"
    result = {
        "title": title,
        "claim": statement,
        **_numbers(findings, agreed, grouped),
        "provenance": provenance(),
    }
    folder = Path(config.output)
    write_page(folder / PAGE, title, findings, statement, last.name, pictures)
    write_text(folder / SETTINGS, config.to_yaml())
    write_json(folder / NUMBERS, result)
    log(f"{statement}\nreport    {folder / PAGE}")
    return result


def _grouped(scores: Mapping[str, Scores], split: Split, table: TripletTable, k: int) -> dict[str, Groups]:
    """Returns recall by relation and by length: kind -> variant -> group -> (queries, R@k)."""
    by_relation, by_length = relations(split), lengths(table)
    return {
        "relation": {name: by_group(found.place, by_relation, k) for name, found in scores.items()},
        "length": {name: by_group(found.place, by_length, k, LENGTHS) for name, found in scores.items()},
    }


def _numbers(
    findings: Sequence[Finding], agreed: Mapping[str, tuple[int, int]], grouped: Mapping[str, Groups]
) -> dict[str, Any]:
    return {
        "findings": [finding.to_json() for finding in findings],
        "agreement": {name: {"agree": found, "pairs": pairs} for name, (found, pairs) in agreed.items()},
        "recall_by": grouped,
    }


def _plots(
    compared: Sequence[Variant],
    findings: Sequence[Finding],
    scores: Mapping[str, Scores],
    grouped: Mapping[str, Groups],
    k: int,
) -> dict[str, bytes]:
    """Returns the plots by their names in the page."""
    pictures = {
        "claim_plot": plots.claim_plot(findings, k),
        "similarity_plot": plots.similarity_plot(scores),
        "spectrum_plot": plots.spectrum_plot(scores),
        "relation_plot": plots.group_plot(grouped["relation"], k),
        "length_plot": plots.group_plot(grouped["length"], k),
    }
    if any(variant.share is not None for variant in compared):
        pictures["share_plot"] = plots.share_plot(compared)
    return pictures


def _failures(
    variant: Variant, scores: Scores, dataset: Dataset, table: TripletTable, split: str, background: Any
) -> bytes:
    """Draws the worst queries of each relation."""
    worst = failures(scores.place, relations(dataset.splits[split]), _FAILURES) or [int(scores.place.argmax())]
    shown = examples(worst, scores.place, variant, dataset, table, split)
    return queries_png(shown, f"{variant.name}: failures", background)
