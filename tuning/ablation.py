"""What single changes of a recipe are worth: each trained with several seeds from the same frozen features."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cirray.bars import say
from cirray.config import Config, check_field, overridden
from cirray.errors import ConfigError
from cirray.files import write_json, write_text
from cirray.output import CONFIG, FREE, Output, open_output
from cirray.provenance import provenance
from tuning.run import RECIPE, held_back

FOLDER = Path(__file__).parent / "ablations"
_FREE = tuple(field for field in FREE if field != "tune")
RESULT = "ablation.json"


def load_changes(name: str, config: Config) -> dict[str, dict[str, Any]]:
    """Reads named changes, a mapping of names to fields and values, and tries each with a configuration.

    Raises:
        ConfigError: no such file, a field that does not exist or is not of stage 2, a value that it refuses.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.yaml")))
        raise ConfigError(f"no ablation {name}: there are {known}; or give a .yaml file")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not all(isinstance(change, dict) and change for change in content.values()):
        raise ConfigError(f"{path} must map names to the fields that they change, and their values")
    for label, change in content.items():
        for field in change:
            check_field(field)
            if not field.startswith("stage2."):
                raise ConfigError(f"{path}: {label} changes {field}, but only stage 2 is trained anew")
        overridden(config, change)
    return {str(label): dict(change) for label, change in content.items()}


def ablate(config: Config, changes: str) -> dict[str, Any]:
    """Trains the recipe and each change of it with `tune.seeds` seeds; takes up what was stopped.

    The stages before run once. Epochs are chosen on triplets held back from train; val is only reported.

    Returns:
        The JSON result: of each row its changed fields, and its numbers by seed.
    """
    config = overridden(held_back(config), {"ablation": False, "tune.stage": "stage2"})
    named = {RECIPE: {}, **load_changes(changes, config)}
    output = open_output(config, _FREE)
    write_text(output.folder / CONFIG, config.to_yaml())
    output.keep(CONFIG)
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Ray Tune's own tables
    from tuning.outcome import candidates, table
    from tuning.prepare import prepare
    from tuning.search import compare

    start = prepare(config, Output(output.place_of("base")))
    say(f"{len(named)} rows, {config.tune.seeds} seeds each")
    compared = candidates(compare(config, list(named.values()), config.tune.seeds, start, output, "rows"), named)
    print("\n" + table(compared) + "\n")
    return _write(output, config, compared)


def _write(output: Output, config: Config, compared: Sequence[Any]) -> dict[str, Any]:
    rows: list[Mapping[str, Any]] = [
        {"name": row.name, "params": row.params, "selection": row.selection, "reported": row.reported}
        for row in compared
    ]
    result = {"seeds": config.tune.seeds, "rows": rows, "provenance": provenance(config.seed)}
    write_json(output.step(RESULT), result)
    output.keep(RESULT)
    say(f"written to {output.place_of(RESULT)}")
    return result
