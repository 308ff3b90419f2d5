"""Ablations: trains a recipe and variations of it, each with several seeds, and compares them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cirray.config.recipe import overridden
from cirray.config.tuning import TrialsConfig
from cirray.config.unknown import check_field
from cirray.console.log import log
from cirray.errors import ConfigError
from cirray.storage.files import write_json, write_text
from cirray.storage.location import Location
from cirray.storage.provenance import provenance
from cirray.training.run_dir import CHANGEABLE, CONFIG, open_output
from tuning.run import RECIPE, with_holdout

ABLATED_STAGES = ("stage1", "stage2")
FOLDER = Path(__file__).parent / "ablations"
_CHANGEABLE = tuple(field for field in CHANGEABLE if field != "tune")
RESULT = "ablation.json"


def load_changes(name: str, config: TrialsConfig) -> dict[str, dict[str, Any]]:
    """Reads the changes of an ablation, name -> field -> value, and validates each against a configuration.

    Args:
        name: name of a file in `ablations/`, or path of a .yaml file.
        config: the recipe.

    Raises:
        ConfigError: the file does not exist, or it names an unknown field, a field of a stage other than 1 and 2, or an
            invalid value.
    """
    from cirray.models.combining import is_trainable

    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.yaml")))
        raise ConfigError(f"no ablation {name}: there are {known}; or give a .yaml file")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not all(isinstance(change, dict) and change for change in content.values()):
        raise ConfigError(f"{path} must map names to changed fields and their values")
    both = _changes_stage1(content)
    for label, change in content.items():
        for field in change:
            check_field(type(config), field)
            if field.partition(".")[0] not in ABLATED_STAGES:
                raise ConfigError(
                    f"{path}: {label} changes {field}, but only fields of stage1 and stage2 can be changed"
                )
        changed = overridden(config, change)
        # A comparison of stage 2 alone also measures functions without parameters; a run of both stages must train.
        combines = changed.stage2.enabled and (not both or is_trainable(changed.stage2.combining))
        if not (changed.stage1.enabled or combines):
            raise ConfigError(f"{path}: {label} leaves nothing to train")
    return {str(label): dict(change) for label, change in content.items()}


def ablate(config: TrialsConfig, changes: str) -> dict[str, Any]:
    """Trains the recipe and each change of it with `tune.seeds` seeds; resumes an interrupted ablation.

    Stages before the first changed one run once. Epochs are selected on triplets held out from train; val is only
    reported.

    Args:
        config: the recipe.
        changes: see `load_changes`.

    Returns:
        The JSON result: the changed fields of each row, and its scores by seed.

    Raises:
        ConfigError: the configuration or the changes are invalid; before any training.
        RunError: the output folder belongs to another run.
    """
    config = overridden(with_holdout(config), {"ablation": False, "stage3.enabled": False})
    named = _rows(config, load_changes(changes, config))
    output = open_output(config, _CHANGEABLE)
    write_text((output / CONFIG).local, config.to_yaml())
    (output / CONFIG).push()
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # disables Ray Tune's own tables
    from tuning.outcome import table

    log(f"{len(named)} rows, {config.tune.seeds} seeds each")
    compared = (_both_stages if _changes_stage1(named) else _stage2)(config, named, output)
    print("\n" + table(compared) + "\n")
    return _write(output, config, compared)


def _changes_stage1(named: Mapping[str, Mapping[str, Any]]) -> bool:
    return any(field.startswith("stage1.") for change in named.values() for field in change)


def _rows(config: TrialsConfig, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Returns the rows, name -> changed fields: the recipe, with the names of changes that it has already, comes first.

    The seeds of the recipe are thus not trained twice.
    """
    same = [label for label, change in changes.items() if overridden(config, change) == config]
    others = {label: change for label, change in changes.items() if label not in same}
    return {", ".join([RECIPE, *same]): {}, **others}


def _stage2(config: TrialsConfig, named: Mapping[str, Mapping[str, Any]], output: Location) -> Sequence[Any]:
    """Trains stage 2 of every row as Ray Tune trials on shared frozen features."""
    from tuning.outcome import candidates
    from tuning.prepare import prepare
    from tuning.search import compare

    start = prepare(config, output / "base")
    return candidates(compare(config, list(named.values()), config.tune.seeds, start, output, "rows"), named)


def _both_stages(config: TrialsConfig, named: Mapping[str, Mapping[str, Any]], output: Location) -> Sequence[Any]:
    """Trains stages 1 and 2 of every row, from the same backbone."""
    from tuning.rows import train_rows

    return train_rows(config, named, output)


def _write(output: Location, config: TrialsConfig, compared: Sequence[Any]) -> dict[str, Any]:
    rows: list[Mapping[str, Any]] = [
        {
            "name": row.name,
            "params": row.params,
            "selection": row.selection,
            "reported": row.reported,
            "parameters": row.parameters,
            "seconds": row.seconds,
        }
        for row in compared
    ]
    result = {"seeds": config.tune.seeds, "rows": rows, "provenance": provenance(config.seed)}
    file = output / RESULT
    write_json(file.local, result)
    file.push()
    log(f"written to {file}")
    return result
