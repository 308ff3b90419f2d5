"""`--dotted.name value` arguments, for every job alike."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from cirray.config.recipe import fields
from cirray.errors import CirrayError, ConfigError

STOPPED = 130  # what shells say of a command that Ctrl-C ended


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """Reads `--a.b value`, `--a.b=value` and bare `--flag` (true); dashes in names may stand for underscores.

    Values are read as YAML scalars or lists, so `1e-4`, `true`, `null` and `[dress, shirt]` mean what they say.

    Raises:
        ConfigError: an argument without dashes where a name was expected, or a name given twice.
    """
    values: dict[str, Any] = {}
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("--") or argument == "--":
            raise ConfigError(f"expected --name value, found {argument!r}")
        name, equals, text = argument[2:].partition("=")
        name = name.replace("-", "_")
        if not equals:
            text = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        if name in values:
            raise ConfigError(f"--{name} is given twice")
        values[name] = _value(text)
    return values


def _value(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):
        try:
            return float(value)  # YAML 1.1 takes 1e-4 for a string
        except ValueError:
            return text
    return value if value is None or isinstance(value, (bool, int, float, list)) else text


def check_names(values: Mapping[str, Any], *known: str) -> None:
    """Raises ConfigError if there is an argument that a job without configuration fields does not have."""
    unknown = values.keys() - set(known)
    if unknown:
        there = ", ".join(f"--{name.replace('_', '-')}" for name in known)
        raise ConfigError(f"unknown argument --{min(unknown)}: there are {there}")


def field_help() -> str:
    """Returns one line a configuration field: name, default, meaning."""
    lines = ["Every field of the configuration (--name value):"]
    lines += [f"  --{name} (default {default!r})  {text}".rstrip() for name, default, text in fields()]
    return "\n".join(lines)


def main(run: Callable[[Sequence[str]], None], usage: str) -> None:
    """Runs a job: prints `usage` and all fields on --help; tells our errors and Ctrl-C without a traceback."""
    argv = sys.argv[1:]
    if not argv or "--help" in argv or "-h" in argv:
        print(f"{usage.strip()}\n\n{field_help()}")
        raise SystemExit(0 if argv else 2)
    try:
        run(argv)
    except CirrayError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("\nstopped: the same command takes it up again", file=sys.stderr)
        raise SystemExit(STOPPED) from None
