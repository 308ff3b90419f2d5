#!/usr/bin/env python
"""Runs the whole pipeline on one machine: draws a garment catalog, trains on it with two Ray workers, indexes it.

    python jobs/demo.py --output build/demo [--any.field VALUE]

Prints the paper's ablation table. OUTPUT gets catalog/ (pictures and triplets in FashionIQ's layout), training/ (the
output of jobs/train.py), index/ and store/ (the feature store). Run the same command again to resume, or to print the
finished result.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command import Command
from cirray.config.command_line import main
from cirray.config.commands import DemoConfig
from cirray.config.help import help_text
from cirray.config.options import Folder
from cirray.config.options import Options as Base
from cirray.console.log import log


class Options(Base):
    """The own options of this command."""

    output: Folder = Field(description="folder for all outputs of the demo, such as build/demo")

    @property
    def root(self) -> Path:
        """The output folder."""
        return Path(self.output).expanduser()

    def base_recipe(self) -> str:
        """Returns the demo's recipe."""
        return "demo"

    def presets(self) -> Mapping[str, Any]:
        """Returns the paths of data, store, training and index below the output folder."""
        return {
            "data.root": str(self.root / "catalog"),
            "store": str(self.root / "store"),
            "output": str(self.root / "training"),
            "index.path": str(self.root / "index"),
        }


COMMAND = Command(__doc__ or "", Options, DemoConfig)


def run(argv: Sequence[str]) -> None:
    """Draws the catalog, trains, indexes; prints the next steps."""
    options, config = COMMAND.read(argv)
    root = options.root
    from cirray.demo.catalog import write_catalog

    log(f"drawing a garment catalog in {root / 'catalog'}")
    write_catalog(root / "catalog", config.seed)
    from cirray.training.run import train  # imports torch and Ray, so only after the arguments are valid

    train(config)
    from cirray.index.build import build_index

    log(f"indexing the catalog in {root / 'index'}")
    build_index(root / "training" / "bundle", root / "catalog" / "catalog.jsonl", config)
    log(_next_steps(root))


def _next_steps(root: Path) -> str:
    return f"""
Next steps:
  search      python -m serve --serve.bundle {root / "training" / "bundle"} --serve.index {root / "index"}
              (or: make serve)
  examples    {root / "training" / "queries.png"}
  in Python   import cirray; model = cirray.load("{root / "training" / "bundle"}")
              model.encode_query("dress.png", "the same in red")
  your data   python jobs/train.py --recipe tiny --data.format triplets --data.root DIR --output OUT"""


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
