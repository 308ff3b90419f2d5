"""Commands: their own options and their configuration, parsed from the command line."""

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
    """The interface of one command.

    Attributes:
        usage: description and synopsis, shown by --help.
        options: the command's own options.
        config: its configuration, whose fields are options too; an own option hides a field of the same name.
        short: short option -> dotted name of the field that it sets.
    """

    usage: str
    options: type[O]
    config: type[C]
    short: Mapping[str, str] = field(default_factory=dict)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The configuration fields that are options: all except `recipe`, which only records the recipe's name."""
        return tuple(
            name for name in field_names(self.config) if name not in self.options.model_fields and name != "recipe"
        )

    def read(self, argv: Sequence[str]) -> tuple[O, C]:
        """Parses the arguments into options and configuration.

        Raises:
            ConfigError: an option is unknown (the message suggests the nearest one), missing, or has a wrong value.
        """
        own, dotted = self.split(parse(argv))
        options = check_values(self.options, own)
        return options, self.load(options, dotted)

    def split(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Separates parsed arguments into the command's own options and configuration fields by dotted name.

        Raises:
            ConfigError: an option is unknown, or a field is given by both its names.
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
        """Returns the configuration: the recipe's values, overridden by the options' presets, then by `dotted`."""
        return load_recipe(self.config, options.base_recipe(), {**options.presets(), **dotted})
