"""Recipes: named complete configurations, with overrides by dotted name.

A recipe is a YAML file of the fields that differ from the defaults, or from the recipe that it `extends`. `load_recipe`
completes and validates it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from cirray.config.schema import Config
from cirray.errors import ConfigError


def recipe_names() -> list[str]:
    """Returns the names of the recipes that come with cirray."""
    folder = resources.files("cirray").joinpath("config", "recipes")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Config:
    """Builds the complete configuration of a recipe with dotted overrides applied.

    Args:
        name: a recipe of ours, or the path of a YAML file (such as a run's own `config.yaml`).
        overrides: dotted field name -> value, `{"stage1.optimisation.lr": 1e-5}`.

    Raises:
        ConfigError: no such recipe, an unknown field (with the nearest known one), or a wrong value.
    """
    settings = _resolve_recipe(name)
    settings["recipe"] = settings.get("recipe", name) if _is_file(name) else name
    for dotted in _leaves(settings):
        check_field(dotted)
    for dotted, value in (overrides or {}).items():
        check_field(dotted)
        _put(settings, dotted.split("."), value)
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_explain(error, f"recipe {name}")) from None


def overridden(config: Config, overrides: Mapping[str, Any]) -> Config:
    """Returns a configuration with some fields, by dotted name, changed.

    Raises:
        ConfigError: an unknown field (with the nearest known one), or a wrong value.
    """
    settings = config.model_dump()
    for dotted, value in overrides.items():
        check_field(dotted)
        _put(settings, dotted.split("."), value)
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_explain(error, "these settings")) from None


def fields(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yields (dotted name, default, description) of every field, depth first."""
    for name, field in section.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from fields(annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default, field.description or ""


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _resolve_recipe(name: str, inner: tuple[str, ...] = ()) -> dict[str, Any]:
    """Reads a recipe on top of the one that it `extends`."""
    if name in inner:
        raise ConfigError(f"recipe {name} extends itself: {' -> '.join([*inner, name])}")
    settings = _read_recipe(name)
    base = settings.pop("extends", None)
    if base is None:
        return settings
    return _merged(_resolve_recipe(str(base), (*inner, name)), settings)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged


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


def check_field(dotted: str) -> None:
    """Raises ConfigError, which names the nearest field, if there is no configuration field of this name."""
    known = [name for name, _, _ in fields()]
    if dotted in known:
        return
    if any(name.startswith(f"{dotted}.") for name in known):
        raise ConfigError(
            f"{dotted} is a section, not a field: give one of its fields, such as "
            f"{next(name for name in known if name.startswith(dotted + '.'))}"
        )
    section, _, leaf = dotted.rpartition(".")
    same_leaf = [name for name in known if name.rsplit(".", 1)[-1] == leaf and name.startswith(section.split(".")[0])]
    near = same_leaf[:1] or difflib.get_close_matches(dotted, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ConfigError(f"no configuration field is named {dotted}.{hint}")


def _put(settings: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        settings = settings.setdefault(part, {})
    settings[path[-1]] = value


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _explain(error: ValidationError, where: str) -> str:
    lines = [f"{where}: {error.error_count()} wrong setting(s)"]
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"]) or "configuration"
        given = "" if isinstance(item["input"], (dict, BaseModel)) else f" (given: {item['input']!r})"
        lines.append(f"  {name}: {item['msg'].removeprefix('Value error, ')}{given}")
    return "\n".join(lines)
