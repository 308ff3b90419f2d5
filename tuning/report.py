"""Writes the results of a search: results.parquet, report.html and best.yaml."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from cirray.config.recipe import overridden
from cirray.config.tuning import TuneConfig
from cirray.storage.files import replacing, write_text
from tuning.outcome import Candidate, spread
from tuning.reported import val_metrics
from tuning.search import Trial
from tuning.trial import SEED

TEMPLATE = Path(__file__).parent / "page.html"


def write_results(path: Path, phases: dict[str, Sequence[Trial]]) -> None:
    """Writes one row per trial: phase, name, seed, best selection value, epochs, completeness and parameters."""
    rows = []
    for phase, trials in phases.items():
        for trial in trials:
            params = dict(trial.params.get("candidate", trial.params))
            rows.append(
                {
                    "phase": phase,
                    "trial": trial.name,
                    "seed": trial.params.get(SEED),
                    "selection": trial.best,
                    "epochs": trial.curve[-1][0] if trial.curve else 0,
                    "ran_to_end": trial.full,
                    "seconds": trial.last.get("seconds"),
                    "diverged": bool(trial.last.get("diverged", False)),
                    **val_metrics(trial.last),
                    "params": json.dumps(params, sort_keys=True),
                }
            )
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    with replacing(path) as temporary:
        parquet.write_table(pa.table(columns), temporary)


def write_best(path: Path, config: TuneConfig, best: Candidate) -> TuneConfig:
    """Writes the complete configuration of the best candidate as a recipe, and returns it."""
    name = f"{config.recipe}-tuned" if best.params else config.recipe
    tuned = overridden(config, {**best.params, "output": "", "recipe": name})
    write_text(path, tuned.to_yaml())
    return tuned


def write_html(path: Path, picture: Path, compared: Sequence[Candidate], facts: dict[str, Any]) -> None:
    """Writes the report as one self-contained HTML page."""
    image = base64.b64encode(picture.read_bytes()).decode()
    lines = "".join(f"<li>{html.escape(name)}: {html.escape(str(value))}</li>" for name, value in facts.items())
    page = Template(TEMPLATE.read_text(encoding="utf-8"))
    write_text(path, page.substitute(facts=lines, finalists=_table(compared), picture=image))


def _table(compared: Sequence[Candidate]) -> str:
    ordered = sorted(compared, key=lambda candidate: -candidate.mean)
    names = list(ordered[0].reported)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ["", "selection", *names, "values"])
    rows = []
    for candidate in ordered:
        values = ", ".join(f"{field} = {value}" for field, value in candidate.params.items()) or "as in the recipe"
        cells = [candidate.name, spread(candidate.selection), *(spread(candidate.reported[name]) for name in names)]
        shown = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        rows.append(f"<tr>{shown}<td><code>{html.escape(values)}</code></td></tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"
