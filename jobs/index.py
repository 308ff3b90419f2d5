#!/usr/bin/env python
"""Builds a searchable index of a catalog with a bundle.

    python jobs/index.py --bundle OUTPUT/bundle --catalog catalog.jsonl|FOLDER|items.csv|items.parquet
                         [--index.path DIR] [--max-bad 0.05] [--output DIR] [--workers N]
    python jobs/index.py --list | --rollback | --publish GENERATION | --collect     [--index.path DIR]

The index is embedded, at --index.path, or on the Qdrant server that QDRANT_URL (and QDRANT_API_KEY) name. The job
builds a new generation next to the published one, verifies it and publishes it atomically. A later run embeds and
uploads only changes. --list shows the generations, --rollback publishes the previous one, --publish a named one, and
--collect deletes old ones. With --output DIR, writes DIR/index.json and DIR/config.yaml. All paths may be s3:// or
gs:// URIs.
"""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command import Command
from cirray.config.command_line import main
from cirray.config.help import help_text
from cirray.config.indexing import IndexConfig
from cirray.config.options import FileOrFolder, Folder, Name, missing
from cirray.config.options import Options as Base
from cirray.errors import ConfigError


class Options(Base):
    """The own options of this command."""

    bundle: Folder | None = Field(None, description="the bundle folder of a finished training, OUTPUT/bundle")
    catalog: FileOrFolder | None = Field(None, description="a catalog.jsonl, folder of images, .csv or .parquet file")
    list: bool = Field(False, description="list the complete generations")
    rollback: bool = Field(False, description="publish the generation before the published one")
    publish: Name | None = Field(None, description="publish this generation")
    collect: bool = Field(False, description="delete all but the newest generations (--index.keep)")


ACTIONS = ("list", "rollback", "publish", "collect")
COMMAND = Command(__doc__ or "", Options, IndexConfig, {"max_bad": "index.max_bad"})


def run(argv: Sequence[str]) -> None:
    """Builds an index, or lists, publishes or deletes generations; prints one JSON object."""
    options, config = COMMAND.read(argv)
    actions = [name for name in ACTIONS if getattr(options, name)]
    if len(actions) > 1 or (actions and (options.bundle or options.catalog)):
        raise ConfigError("give either --bundle and --catalog, or one of --list, --rollback, --publish, --collect")
    if actions:
        result = _manage(actions[0], options, config)
    else:
        if options.bundle is None:
            raise missing(Options, "bundle")
        if options.catalog is None:
            raise missing(Options, "catalog")
        from cirray.index.build import build_index  # imports torch and Ray, so only after the arguments are valid

        result = build_index(options.bundle, options.catalog, config)
    _write(result, config)


def _manage(action: str, options: Options, config: IndexConfig) -> dict[str, Any]:
    from cirray.index import open_backend

    backend = open_backend(config.index)
    result: dict[str, Any] = {"index": backend.where}
    if action != "list":
        with backend.lock():
            result.update(_change(backend, action, options, config))
    generations = [
        {"name": generation.name, "items": generation.count, "image_fingerprint": generation.image_fingerprint}
        for generation in backend.generations()
    ]
    return {**result, "published": backend.published(), "generations": generations}


def _change(backend: Any, action: str, options: Options, config: IndexConfig) -> dict[str, Any]:
    if action == "collect":
        return {"deleted_generations": backend.collect(config.index.keep)}
    if action == "rollback":
        backend.roll_back()
    else:
        backend.publish(options.publish)
    return {}


def _write(result: dict[str, Any], config: IndexConfig) -> None:
    print(json.dumps(result, indent=2))
    if config.output:
        from cirray.storage.files import write_json, write_text
        from cirray.storage.location import Location

        output = Location.parse(config.output)
        write_text((output / "config.yaml").local, config.to_yaml())
        write_json((output / "index.json").local, result)
        for name in ("config.yaml", "index.json"):
            (output / name).push()


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
