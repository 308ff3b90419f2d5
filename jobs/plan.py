#!/usr/bin/env python
"""Estimates what a deployment needs for a catalog of a given size and load.

    python jobs/plan.py --items 1e9 --dim 640 --qps 2000 [--replicas 2] [--quantization none|int8|binary]
                        [--embed-rate 400] [--p95-ms 50] [--recall 0.95] [--format text|json] [--points FILE]

Prints memory, disk, shards, nodes, snapshot size, GPU-hours, upload and graph time, replicas, and hours per month. Each
number comes with its formula and its basis: measured by this project, published by the vendor, assumed, or given. The
formulas' errors at the measured points give the error bar. --points reads measurements of your own.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.capacity.inputs import arguments, check_inputs
from cirray.capacity.plan import make_plan
from cirray.capacity.points import read_points
from cirray.capacity.text import as_json, as_text
from cirray.config.command_line import main, parse
from cirray.errors import ConfigError


def run(argv: Sequence[str]) -> None:
    """Parses, plans, prints."""
    values = parse(argv)
    form, points = values.pop("format", "text"), values.pop("points", None)
    if form not in ("text", "json"):
        raise ConfigError(f"--format is text or json, not {form!r}")
    inputs = check_inputs(values)
    plan = make_plan(inputs, read_points(Path(str(points)) if points else None))
    print(as_json(plan) if form == "json" else as_text(plan))


def usage() -> str:
    """Returns the help: every argument with its default."""
    lines = [
        f"  {name} ({'needed' if default is None else f'default {default}'})  {text}"
        for name, default, text in arguments()
    ]
    return "\n".join([(__doc__ or "").strip(), "", "Arguments:", *lines])


if __name__ == "__main__":
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(usage())
    else:
        main(run, __doc__ or "")
