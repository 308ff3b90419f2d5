"""A command: its own options, the configuration that it takes, and how both are read from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from cirray.config.command_line import parse
from cirray.config.fields import field_names
from cirray.config.options import Options, check_values
from cirray.config.recipe import load_recipe
from cirray.config.section import Configuration
from cirray.config.unknown import as_option, check_option
from cirray.errors import ConfigError

O = TypeVar("O", bound=Options)  # noqa: E741
C = TypeVar("C", bound=Configuration)


@dataclass(frozen=True, slots=True)
class Command(Generic[O, C]):
    """What a command takes.

    Attributes:
        usage: what it does, and how it is called.
        options: its own options.
        config: its configuration, whose fields are options too; an own option hides a field of the same name.
        short: short option -> dotted name of the field that it sets.
    """

    usage: str
    options: type[O]
    config: type[C]
    short: Mapping[str, str] = field(default_factory=dict)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The fields of the configuration that are options. `recipe` only records where the others come from."""
        return tuple(
            name for name in field_names(self.config) if name not in self.options.model_fields and name != "recipe"
        )

    def read(self, argv: Sequence[str]) -> tuple[O, C]:
        """Reads the arguments.

        Raises:
            ConfigError: an unknown option (with the nearest known one), one that is missing or has a wrong value.
        """
        own, dotted = self.split(parse(argv))
        options = check_values(self.options, own)
        return options, self.load(options, dotted)

    def split(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the command's own options, and the fields of its configuration by dotted name.

        Raises:
            ConfigError: an unknown option, or a field that is given by its short name too.
        """
        own: dict[str, Any] = {}
        dotted: dict[str, Any] = {}
        for name, value in values.items():
            check_option(name, self.config, (*self.options.model_fields, *self.short, *self.field_names))
            full = self.short.get(name, name)
            if full in dotted:
                raise ConfigError(f"{as_option(full)} is given twice")
            (own if name in self.options.model_fields else dotted)[full] = value
        return own, dotted

    def load(self, options: O, dotted: Mapping[str, Any]) -> C:
        """Returns the configuration: the recipe, what follows from the options, and the fields that were given."""
        return load_recipe(self.config, options.base_recipe(), {**options.presets(), **dotted})
