"""Errors for unknown names: they suggest the nearest known name, or the commands that have it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from cirray.config.commands import COMMANDS, owners
from cirray.config.fields import field_names, is_mapped, is_section
from cirray.config.section import Configuration
from cirray.errors import ConfigError


def as_option(name: str) -> str:
    """Returns a name in command-line syntax."""
    return f"--{name.replace('_', '-')}"


def check_field(root: type[Configuration], dotted: str) -> None:
    """Raises ConfigError, with the nearest field, if the configuration has no field of this name."""
    if dotted not in field_names(root) and not is_mapped(dotted, root):
        raise ConfigError(explain(dotted, root, field_names(root), "configuration field", str))


def check_option(name: str, root: type[Configuration], known: Sequence[str]) -> None:
    """Raises ConfigError, with the nearest option, if a command has no option of this name.

    Args:
        name: the given name.
        root: the command's configuration.
        known: all its options.
    """
    if name not in known and not is_mapped(name, root):
        raise ConfigError(f"{explain(name, root, known, 'option', as_option)} See --help")


def explain(name: str, root: type[Configuration], known: Sequence[str], kind: str, shown: Callable[[str], str]) -> str:
    """Returns an error message for an unknown name: the reason, and what to give instead.

    Args:
        name: the given name.
        root: the command's configuration.
        known: the names that are valid.
        kind: what the name should have been, such as "option".
        shown: formats a name for the message.
    """
    if is_section(name, root):
        example = next(field for field in field_names(root) if field.startswith(f"{name}."))
        return f"{shown(name)} is a section, not a field: give one of its fields, such as {shown(example)}."
    others = [command for command in owners(name) if COMMANDS[command] is not root]
    near = nearest(name, known, same_leaf_only=bool(others))
    hint = f" Did you mean {shown(near)}?" if near else ""
    if others:
        return f"{shown(name)} is for {', '.join(others)} only.{hint}"
    return f"no {kind} is named {shown(name)}.{hint}"


def nearest(name: str, known: Sequence[str], same_leaf_only: bool = False) -> str | None:
    """Returns the known name most similar to `name`; None if none is similar.

    Args:
        same_leaf_only: consider only names with the same last part, in any section.
    """
    section, _, leaf = name.rpartition(".")
    start = "" if same_leaf_only else section.split(".")[0]
    same_leaf = [other for other in known if other.rsplit(".", 1)[-1] == leaf and other.startswith(start)]
    if same_leaf or same_leaf_only:
        return next(iter(same_leaf), None)
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.5)), None)
