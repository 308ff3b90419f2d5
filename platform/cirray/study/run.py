"""Runs the study: measures all variants and writes the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cirray.cluster.session import connect
from cirray.config.evaluation import SplitConfig
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
from cirray.study.findings import Finding, agreement, measure, most_discriminative_k
from cirray.study.groups import LENGTHS, lengths, recall_by_group, relations
from cirray.study.report import claim, write_page
from cirray.study.scores import Scores, score
from cirray.study.variants import Stage, Variant, variants

PAGE, NUMBERS, SETTINGS = "study.html", "study.json", "config.yaml"
_FAILURES = 8

Groups = dict[str, dict[str, tuple[int, float]]]


@torch.inference_mode()
def study(stages: Sequence[Stage], name: str, config: SplitConfig, split: str) -> dict[str, Any]:
    """Measures every variant on a split; writes study.html, study.json and config.yaml to `config.output`.

    Args:
        stages: the encoders and combining functions to compare.
        name: the run or bundle, for the title.
        config: the configuration.
        split: the split to measure on.

    Returns:
        The content of study.json.

    Raises:
        DataError: the data is invalid.
        ConfigError: `output` is not set, or the targets of the split are not published.
    """
    if not config.output:
        raise ConfigError("output is not set: give --output DIR, the folder for the report")
    store = Location.configured(config.store, "store")
    background = read_manifest(stages[0].encoder)["preprocess"]["background"]
    dataset = load_dataset(config.data, store, background, (split,))
    table = build_table(dataset, split)
    if bool((table.target < 0).any()):
        raise ConfigError(f"the targets of split {split} of {dataset.name} are not published: give another split")
    connect(config.workers)
    compared = variants(stages, dataset, table, config)
    log(f"measuring {len(compared)} variants on {len(table):,} queries")
    scores = {variant.name: score(variant, table, dataset.protocol.exclude_reference) for variant in compared}
    findings = [measure(variant, scores[variant.name], table) for variant in compared]
    k = most_discriminative_k(findings)
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
    """Returns recall by relation and by caption length: kind -> variant -> group -> (queries, R@k)."""
    by_relation, by_length = relations(split), lengths(table)
    return {
        "relation": {name: recall_by_group(score.rank, by_relation, k) for name, score in scores.items()},
        "length": {name: recall_by_group(score.rank, by_length, k, LENGTHS) for name, score in scores.items()},
    }


def _numbers(
    findings: Sequence[Finding], agreed: Mapping[str, tuple[int, int]], grouped: Mapping[str, Groups]
) -> dict[str, Any]:
    return {
        "findings": [finding.to_json() for finding in findings],
        "agreement": {name: {"agree": count, "pairs": pairs} for name, (count, pairs) in agreed.items()},
        "recall_by": grouped,
    }


def _plots(
    compared: Sequence[Variant],
    findings: Sequence[Finding],
    scores: Mapping[str, Scores],
    grouped: Mapping[str, Groups],
    k: int,
) -> dict[str, bytes]:
    """Returns the plots by their names in the template."""
    pictures = {
        "claim_plot": plots.claim_plot(findings, k),
        "similarity_plot": plots.similarity_plot(scores),
        "spectrum_plot": plots.spectrum_plot(scores),
        "relation_plot": plots.group_plot(grouped["relation"], k),
        "length_plot": plots.group_plot(grouped["length"], k),
    }
    if any(variant.text_weight is not None for variant in compared):
        pictures["text_weight_plot"] = plots.text_weight_plot(compared)
    return pictures


def _failures(
    variant: Variant, scores: Scores, dataset: Dataset, table: TripletTable, split: str, background: Any
) -> bytes:
    """Draws the worst queries of each relation."""
    worst = failures(scores.rank, relations(dataset.splits[split]), _FAILURES) or [int(scores.rank.argmax())]
    shown = examples(worst, scores.rank, variant, dataset, table, split)
    return queries_png(shown, f"{variant.name}: failures", background)
