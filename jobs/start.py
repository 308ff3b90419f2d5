#!/usr/bin/env python
"""Makes a product feed searchable: reads it, makes a model, indexes the pictures.

    python jobs/start.py --catalog FEED --output DIR
    python jobs/start.py --catalog FEED --output DIR --backbone.model ViT-B-32 --backbone.pretrained openai [--no-train]

With weights of a published or local CLIP (--backbone.*), the catalog is searchable before any training. Without
weights, a small CLIP is trained on the feed's titles. Then triplets are made from the attributes and titles, and the
model is trained on them. Run the same command again to resume, and after every change of the feed: the index is
updated, the model is kept.
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
from cirray.config.help import help_text
from cirray.config.options import FileOrFolder, Folder, Name
from cirray.config.options import Options as Base
from cirray.config.start import StartConfig
from cirray.console.log import log

SCRATCH, PUBLISHED = "shop", "shop-published"


class Options(Base):
    """The own options of this command."""

    catalog: FileOrFolder = Field(description="product feed or catalog: .csv, .tsv, .jsonl, .parquet or a folder")
    output: Folder = Field(description="folder for all outputs, such as build/shop")
    no_train: bool = Field(False, description="train no stage 1 and 2; search adds image and text features (Sum)")
    recipe: Name | None = Field(
        None, description=f"recipe; default: {PUBLISHED} if --backbone.* names weights, else {SCRATCH}"
    )

    def base_recipe(self) -> str:
        """Returns the given recipe, or that of a start without weights."""
        return self.recipe or SCRATCH

    def presets(self) -> Mapping[str, Any]:
        """Returns the paths of output, store and index."""
        root = Path(self.output).expanduser()
        return {"output": str(root), "store": str(root / "store"), "index.path": str(root / "index")}


COMMAND = Command(__doc__ or "", Options, StartConfig, {"exclude": "triplets.exclude", "max_bad": "index.max_bad"})


def run(argv: Sequence[str]) -> None:
    """Runs the steps; writes OUTPUT/start.json and prints the next commands."""
    options, config = COMMAND.read(argv)
    if options.recipe is None and config.backbone.weights_source:
        options, config = COMMAND.read([*argv, "--recipe", PUBLISHED])
    from cirray.start.steps import start  # imports torch and Ray, so only after the arguments are valid

    if not config.backbone.weights_source:
        log(NO_WEIGHTS)
    report = start(options.catalog, config, not options.no_train)
    log(_next_steps(report))


NO_WEIGHTS = """
No weights are named, so a small CLIP is trained on the titles of this catalog. It knows the words of its titles and
attributes only. For everyday language, name the weights of a published model:
  --backbone.model ViT-B-32 --backbone.pretrained openai"""


def _next_steps(report: Mapping[str, Any]) -> str:
    minutes = sum(report["seconds"].values()) / 60
    return f"""
{report["items"]:,} items are searchable; this took {minutes:.1f} minutes.

Next steps:
  search        python -m serve --serve.bundle {report["bundle"]} --serve.index {report["index"]}
  feed changed  run the same command again: the index is updated, the model is kept"""


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
