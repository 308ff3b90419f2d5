"""Metrics on the val split in the report of a trial: shown beside the selection value, never chosen by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PREFIX = "val "


def on_val(metrics: Mapping[str, float]) -> dict[str, float]:
    """Returns metrics under the names that they have in a trial's report: "val R@10"."""
    return {f"{_PREFIX}{name}": value for name, value in metrics.items()}


def val_metrics(report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the metrics on the val split in a trial's report, under their names there."""
    return {name: value for name, value in report.items() if name.startswith(_PREFIX)}
