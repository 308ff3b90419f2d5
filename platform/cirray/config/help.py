"""The --help text of a command: usage, own options, and configuration with effective values."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from pydantic.fields import FieldInfo

from cirray.config.command import Command
from cirray.config.command_line import parse
from cirray.config.fields import FieldValue, fields
from cirray.config.options import Options, check_values, choices_of, kind_of, typed
from cirray.config.section import Configuration
from cirray.config.unknown import as_option

WIDTH = 120

Row = tuple[str, str, str]  # option, default, description


def help_text(command: Command[Any, Any], argv: Sequence[str] = ()) -> str:
    """Returns the help of a command.

    Args:
        argv: the other arguments; if they name a recipe, its values are shown.

    Raises:
        ConfigError: an option is unknown, or the recipe cannot be read.
    """
    given, _ = command.split(parse(argv))
    options = _options(command.options, given)
    config = command.load(options, {})
    lines = [command.usage.strip()]
    own = [*_own_rows(command.options), *_short_rows(command, config)]
    if own:
        lines += ["", "Options:", *_table(own)]
    shown = [field for field in fields(config) if field.name in command.field_names]
    if shown:
        lines += ["", f"Configuration, with {_origin(command.options, options)}:", *_sections(config, shown)]
    return "\n".join(lines)


def value_text(value: Any) -> str:
    """Returns a value in command-line syntax."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(value_text(part) for part in value)}]"
    return str(value) or "''"


def _options(options: type[Options], given: dict[str, Any]) -> Options:
    """Returns the given options; a missing required option gets a placeholder, the kind of its value."""
    required = {name: kind_of(info) for name, info in options.model_fields.items() if info.is_required()}
    if required.keys() <= given.keys():
        return check_values(options, given)
    if "recipe" in required:
        required["recipe"] = "default"
    return options.model_construct(**{**required, **given})


def _origin(options: type[Options], chosen: Options) -> str:
    recipe = chosen.base_recipe()
    if recipe != "default":
        return f"the values of recipe {recipe}"
    more = " (for a recipe's values: --recipe NAME --help)" if "recipe" in options.model_fields else ""
    return f"its defaults{more}"


def _own_rows(options: type[Options]) -> Iterator[Row]:
    for name, info in options.model_fields.items():
        default = "required" if info.is_required() else value_text(info.default)
        yield typed(name, info), default, _described(info)


def _short_rows(command: Command[Any, Any], config: Configuration) -> Iterator[Row]:
    by_name = {field.name: field for field in fields(config)}
    for name, dotted in command.short.items():
        field = by_name[dotted]
        yield typed(name, field.info), value_text(field.value), f"the same as {as_option(dotted)}"


def _sections(config: Configuration, shown: Iterable[FieldValue]) -> Iterator[str]:
    """Yields the lines of each section; top-level fields come first."""
    ordered = sorted(shown, key=lambda field: "." in field.name)
    for section, members in groupby(ordered, key=lambda field: field.name.rpartition(".")[0].split(".")[0]):
        if section:
            about = (type(getattr(config, section)).__doc__ or "").splitlines()[0]
            yield from ("", f" {section}: {about}")
        rows = [(as_option(field.name), value_text(field.value), _described(field.info)) for field in members]
        yield from _table(rows)


def _described(info: FieldInfo) -> str:
    """Returns the description, with the choices appended unless it contains them all."""
    text, choices = info.description or "", choices_of(info)
    return text if all(choice in text for choice in choices) else f"{text}: {' | '.join(choices)}"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    name = max(len(row[0]) for row in rows)
    default = min(max(len(row[1]) for row in rows), 24)
    indent = " " * (2 + name + 2 + default + 2)
    for option, value, description in rows:
        head = f"  {option:{name}}  {value:{default}}  "
        first, *more = textwrap.wrap(description, WIDTH - len(indent), break_on_hyphens=False)
        yield head + first
        yield from (indent + line for line in more)
