#!/usr/bin/env python
"""Estimates what a deployment needs for a catalog of a given size and load.

    python jobs/plan.py --items 1e9 --dim 640 --qps 2000 [--replicas 2] [--quantization none|int8|binary]
                        [--embed-rate 400] [--p95-ms 50] [--recall 0.95] [--format text|json] [--points FILE]

Prints memory, disk, shards, nodes, snapshot size, GPU-hours, upload and graph time, replicas, and hours per month, each
with its formula and its basis: measured by this project, published by the vendor, assumed, or given. The error bars
come from the formulas' errors at the measured points. --points reads your own measurements.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.capacity.inputs import PlanInputs
from cirray.capacity.plan import make_plan
from cirray.capacity.points import read_points
from cirray.capacity.text import as_json, as_text
from cirray.config.command import Command
from cirray.config.command_line import main
from cirray.config.help import help_text
from cirray.config.options import File
from cirray.config.options import Options as Base
from cirray.config.section import Configuration


class Options(PlanInputs, Base):
    """The own options of this command."""

    format: Literal["text", "json"] = Field("text", description="output format")
    points: File | None = Field(None, description="file of your own measurements; null = those that come with cirray")


COMMAND = Command(__doc__ or "", Options, Configuration)


def run(argv: Sequence[str]) -> None:
    """Prints the plan."""
    options, _ = COMMAND.read(argv)
    given = options.model_dump(include=set(PlanInputs.model_fields), exclude_unset=True)  # the plan marks given inputs
    inputs = PlanInputs.model_validate(given)
    plan = make_plan(inputs, read_points(Path(options.points) if options.points else None))
    print(as_json(plan) if options.format == "json" else as_text(plan))


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
