#!/usr/bin/env python
"""Converts between CLIP4Cir checkpoints and cirray bundles.

    python jobs/convert.py import --clip tuned_clip.pt [--combiner combiner.pt] --output BUNDLE
    python jobs/convert.py import --backbone.model RN50x4 --backbone.pretrained openai --combiner FILE --output BUNDLE
    python jobs/convert.py export --bundle BUNDLE --output DIR

import reads the backbone and the sizes from the tensor shapes and prints them as JSON. Without --combiner the bundle
adds image and text features (Sum). --backbone.* takes a published CLIP instead of --clip. If the checkpoint was not
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command_line import main, parse
from cirray.config.recipe import load_recipe
from cirray.errors import ConfigError


def run(argv: Sequence[str]) -> None:
    """Parses, converts, prints one JSON result."""
    directions = {"import": _import, "export": _export}
    if not argv or argv[0] not in directions:
        raise ConfigError(f"the first word is import or export, not {argv[0] if argv else 'nothing'!r}: see --help")
    print(json.dumps(directions[argv[0]](parse(argv[1:])), indent=2))


def _import(values: dict[str, Any]) -> dict[str, Any]:
    files = {name: _file(values, name) for name in ("clip", "combiner")}
    if files["clip"] and any(name.startswith("backbone.") for name in values):
        raise ConfigError("give --clip or --backbone..., not both: a checkpoint's backbone is told by its shapes")
    config = load_recipe("clip4cir", values)
    from cirray.interop.clip4cir.convert import import_bundle  # a wrong setting fails before torch is loaded

    return import_bundle(files["clip"], files["combiner"], config)


def _export(values: dict[str, Any]) -> dict[str, Any]:
    unknown = values.keys() - {"bundle", "output"}
    if unknown:
        raise ConfigError(f"unknown argument --{min(unknown)}: export has --bundle and --output")
    for name in ("bundle", "output"):
        if not isinstance(values.get(name), str):
            raise ConfigError(f"--{name} is missing: see --help")
    from cirray.interop.clip4cir.convert import export_bundle

    return export_bundle(values["bundle"], Path(values["output"]))


def _file(values: dict[str, Any], name: str) -> Path | None:
    value = values.pop(name, None)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"--{name} must name a file, not {value!r}")
    return Path(value).expanduser() if value else None


if __name__ == "__main__":
    main(run, __doc__ or "")
