"""Parses `--dotted.name value` arguments, and runs commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from cirray.errors import CirrayError, ConfigError

STOPPED = 130  # exit status after Ctrl-C, as in shells
HELP = {"--help", "-h"}


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """Parses `--a.b value`, `--a.b=value` and bare `--flag` (true). Names may use dashes instead of underscores.

    Values are YAML scalars or lists: `1e-4`, `true`, `null`, `[dress, shirt]`.

    Raises:
        ConfigError: a value without an option, or an option given twice.
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
            return float(value)  # in YAML 1.1, 1e-4 is a string
        except ValueError:
            return text
    return value if value is None or isinstance(value, (bool, int, float, list)) else text


def main(run: Callable[[Sequence[str]], None], usage: Callable[[Sequence[str]], str]) -> None:
    """Runs a command, or prints its help if --help or no argument is given. Exits with status 2 on a CirrayError.

    Args:
        run: runs the command with its arguments.
        usage: returns the help, given the arguments other than --help.
    """
    argv = sys.argv[1:]
    try:
        if argv and not HELP & set(argv):
            run(argv)
            return
        print(usage([argument for argument in argv if argument not in HELP]))
    except CirrayError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("\nstopped: run the same command again to resume", file=sys.stderr)
        raise SystemExit(STOPPED) from None
    raise SystemExit(0 if argv else 2)
