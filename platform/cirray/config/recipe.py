"""Recipes: named configurations, with overrides by dotted name.

A recipe is a YAML file with the fields that differ from the defaults, or from the recipe that it `extends`.
`load_recipe` completes and validates it for one command, and ignores fields that belong to other commands.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cirray.config.commands import COMMANDS, owners
from cirray.config.fields import field_names, is_section, leaves, merged, put, with_current_names
from cirray.config.section import Configuration
from cirray.config.unknown import check_field
from cirray.errors import ConfigError

C = TypeVar("C", bound=Configuration)


def recipe_names() -> list[str]:
    """Returns the names of the recipes that come with cirray."""
    folder = resources.files("cirray").joinpath("config", "recipes")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(root: type[C], name: str, overrides: Mapping[str, Any] | None = None) -> C:
    """Builds the complete configuration of a command: a recipe, with dotted overrides applied.

    Args:
        root: the command's configuration, such as TrainConfig.
        name: name of a recipe, or path of a YAML file (such as a run's `config.yaml`).
        overrides: dotted field name -> value, such as `{"stage1.optimisation.lr": 1e-5}`.

    Raises:
        ConfigError: the recipe does not exist, a field is unknown (the message suggests the nearest one), or a value
            is wrong.
    """
    settings = own_fields(root, _resolve_recipe(name))
    if "recipe" in root.model_fields:
        settings["recipe"] = settings.get("recipe", name) if _is_file(name) else name
    for dotted, _ in leaves(settings):
        check_field(root, dotted)
    return _built(root, settings, overrides or {}, f"recipe {name}")


def overridden(config: C, overrides: Mapping[str, Any]) -> C:
    """Returns a configuration with the given fields replaced.

    Args:
        overrides: dotted field name -> value.

    Raises:
        ConfigError: a field is unknown (the message suggests the nearest one), or a value is wrong.
    """
    return _built(type(config), config.model_dump(), overrides, "these settings")


def own_fields(root: type[Configuration], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a file's settings without the fields that only other commands have, under their current names.

    Fields that no command has are kept, so that validation reports them.
    """
    return _kept(root, _with_current_names(settings), "")


def _kept(root: type[Configuration], settings: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in settings.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping):
            inner = _kept(root, value, f"{dotted}.")
            if inner:
                kept[key] = inner
        elif dotted in field_names(root) or is_section(dotted, root) or not owners(dotted):
            kept[key] = value
    return kept


def completed(root: type[C], settings: Mapping[str, Any]) -> C:
    """Validates settings; missing fields get the defaults that `root` declares for their section.

    Raises:
        ValidationError: a field is unknown, or a value is wrong.
    """
    return root.model_validate(merged(root().model_dump(), settings))


def _built(root: type[C], settings: dict[str, Any], overrides: Mapping[str, Any], where: str) -> C:
    for dotted, value in overrides.items():
        check_field(root, dotted)
        put(settings, dotted, value)
    try:
        return completed(root, settings)
    except ValidationError as error:
        raise ConfigError(_explain(error, where)) from None


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _resolve_recipe(name: str, inner: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns a recipe's settings merged over those of the recipe that it `extends`."""
    if name in inner:
        raise ConfigError(f"recipe {name} extends itself: {' -> '.join([*inner, name])}")
    settings = _with_current_names(_read_recipe(name))  # before merging, which would keep former and current name
    base = settings.pop("extends", None)
    if base is None:
        return settings
    return merged(_resolve_recipe(str(base), (*inner, name)), settings)


def _with_current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    current = dict(settings)
    for root in COMMANDS.values():
        current = with_current_names(root, current)
    return current


def _read_recipe(name: str) -> dict[str, Any]:
    if _is_file(name):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"recipe file {name} does not exist")
        text = path.read_text(encoding="utf-8")
    else:
        known = recipe_names()
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"no recipe named {name}.{hint} There are: {', '.join(known)}; or give a .yaml file")
        text = resources.files("cirray").joinpath("config", "recipes", f"{name}.yaml").read_text(encoding="utf-8")
    try:
        settings = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"recipe {name} is not YAML: {error}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"recipe {name} must be a mapping of fields, not a {type(settings).__name__}")
    return settings


def _explain(error: ValidationError, where: str) -> str:
    lines = [f"{where}: {error.error_count()} wrong setting(s)"]
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"]) or "configuration"
        given = "" if isinstance(item["input"], (dict, BaseModel)) else f" (given: {item['input']!r})"
        lines.append(f"  {name}: {item['msg'].removeprefix('Value error, ')}{given}")
    return "\n".join(lines)
