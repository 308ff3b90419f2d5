#!/usr/bin/env python
"""Converts between CLIP4Cir checkpoints and cirray bundles.

    python jobs/convert.py import --clip tuned_clip.pt [--combiner combiner.pt] --output BUNDLE
    python jobs/convert.py import --backbone.model RN50x4 --backbone.pretrained openai --combiner FILE --output BUNDLE
    python jobs/convert.py export --bundle BUNDLE --output DIR

import derives the backbone and the sizes from the tensor shapes and prints them as JSON. Without --combiner the bundle
adds image and text features (Sum). --backbone.* uses a published or local CLIP instead of --clip. Together with --clip,
--backbone.pretrained openai (or --backbone.weights FILE) names the weights from before fine-tuning: the bundle then
encodes queries of text alone with their text tower. If the checkpoint was not
trained with TargetPad 1.25, give --preprocess.pad square|none or --preprocess.ratio 1.5. By default pictures are read
as in CLIP4Cir, which ignores EXIF and transparency; --preprocess.convert first applies both.

export writes DIR/tuned_clip.pt and, if the bundle has a Combiner, DIR/combiner.pt, and prints the arguments for
CLIP4Cir's scripts.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command import Command
from cirray.config.command_line import main, parse
from cirray.config.conversion import ConvertConfig
from cirray.config.help import help_text
from cirray.config.options import File, Folder, Options
from cirray.config.section import Configuration
from cirray.errors import ConfigError


class ImportOptions(Options):
    """The own options of import."""

    clip: File | None = Field(None, description="checkpoint of the fine-tuned CLIP")
    combiner: File | None = Field(None, description="checkpoint of the Combiner; null = Sum")

    def base_recipe(self) -> str:
        """Returns the recipe with CLIP4Cir's preprocessing."""
        return "clip4cir"


class ExportOptions(Options):
    """The own options of export."""

    bundle: Folder = Field(description="bundle, folder or URI")
    output: Folder = Field(description="folder for CLIP4Cir's checkpoints")


IMPORT = Command(__doc__ or "", ImportOptions, ConvertConfig)
EXPORT = Command(__doc__ or "", ExportOptions, Configuration)


def run(argv: Sequence[str]) -> None:
    """Imports or exports; prints one JSON object."""
    directions = {"import": _import, "export": _export}
    if not argv or argv[0] not in directions:
        raise ConfigError(
            f"the first argument must be import or export, not {argv[0] if argv else 'nothing'!r}: see --help"
        )
    print(json.dumps(directions[argv[0]](argv[1:]), indent=2))


def usage(argv: Sequence[str]) -> str:
    """Returns the help of export if that is the first argument, else of import."""
    word, rest = (argv[0], argv[1:]) if argv and not argv[0].startswith("--") else ("import", argv)
    return help_text(EXPORT if word == "export" else IMPORT, rest)


def _import(argv: Sequence[str]) -> dict[str, Any]:
    options, config = IMPORT.read(argv)
    if options.clip and "backbone.model" in parse(argv):
        raise ConfigError("give --clip or --backbone.model, not both: a checkpoint's shapes determine its backbone")
    from cirray.interop.clip4cir.convert import import_bundle  # imports torch, so only after the arguments are valid

    return import_bundle(_path(options.clip), _path(options.combiner), config)


def _export(argv: Sequence[str]) -> dict[str, Any]:
    options, _ = EXPORT.read(argv)
    from cirray.interop.clip4cir.convert import export_bundle

    return export_bundle(options.bundle, Path(options.output))


def _path(file: str | None) -> Path | None:
    return Path(file).expanduser() if file else None


if __name__ == "__main__":
    main(run, usage)
