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
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command_line import main, parse
from cirray.config.recipe import load_recipe
from cirray.config.schema import Config
from cirray.errors import ConfigError


def run(argv: Sequence[str]) -> None:
    """Parses, then builds an index or changes which generation is published; writes one JSON result."""
    values = parse(argv)
    actions = {name: values.pop(name) for name in ("list", "rollback", "publish", "collect") if name in values}
    bundle, catalog = values.pop("bundle", None), values.pop("catalog", None)
    if "max_bad" in values:
        values["index.max_bad"] = values.pop("max_bad")
    config = load_recipe("default", values)
    if len(actions) > 1 or (actions and (bundle or catalog)):
        raise ConfigError("give either --bundle and --catalog, or one of --list, --rollback, --publish, --collect")
    if actions:
        (action, argument), *_ = actions.items()
        result = _manage(action, str(argument), config)
    else:
        if not isinstance(bundle, str):
            raise ConfigError("--bundle DIR is missing: the bundle folder of a finished training, OUTPUT/bundle")
        if not isinstance(catalog, str):
            raise ConfigError("--catalog is missing: a catalog.jsonl, a folder of pictures, a .csv or a .parquet file")
        from cirray.index.build import build_index  # a wrong setting fails before torch and Ray are loaded

        result = build_index(bundle, catalog, config)
    _write(result, config)


def _manage(action: str, argument: str, config: Config) -> dict[str, Any]:
    from cirray.index import open_backend

    backend = open_backend(config.index)
    result: dict[str, Any] = {"index": backend.where}
    if action != "list":
        with backend.lock():
            result.update(_change(backend, action, argument, config))
    generations = [
        {"name": generation.name, "items": generation.count, "image_fingerprint": generation.image_fingerprint}
        for generation in backend.generations()
    ]
    return {**result, "published": backend.published(), "generations": generations}


def _change(backend: Any, action: str, argument: str, config: Config) -> dict[str, Any]:
    if action == "collect":
        return {"deleted_generations": backend.collect(config.index.keep)}
    if action == "rollback":
        backend.roll_back()
    else:
        backend.publish(argument)
    return {}


def _write(result: dict[str, Any], config: Config) -> None:
    print(json.dumps(result, indent=2))
    if config.output:
        from cirray.storage.files import write_json, write_text
        from cirray.training.run_dir import Output

        output = Output(config.output)
        write_text(output.step("config.yaml"), config.to_yaml())
        write_json(output.step("index.json"), result)
        for name in ("config.yaml", "index.json"):
            output.keep(name)


if __name__ == "__main__":
    main(run, __doc__ or "")
