"""The own options of a command, declared as pydantic fields. Its configuration fields are separate (command.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.fields import FieldInfo

from cirray.config.recipe import recipe_names
from cirray.config.section import Section
from cirray.config.unknown import as_option
from cirray.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Kind:
    """Placeholder for an option's value in --help."""

    name: str


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, (str, int, float)) and not isinstance(value, bool) else value


Folder = Annotated[str, Kind("DIR")]
File = Annotated[str, Kind("FILE")]
FileOrFolder = Annotated[str, Kind("PATH")]
Files = Annotated[tuple[str, ...], BeforeValidator(_as_list), Kind("FILE")]
Name = Annotated[str, Kind("NAME")]


class Options(Section):
    """Base class of a command's own options. An option without a default is required."""

    model_config = ConfigDict(coerce_numbers_to_str=True)  # a folder may be named 2024

    def base_recipe(self) -> str:
        """Returns the recipe, or its file, that the configuration starts from."""
        return "default"

    def presets(self) -> Mapping[str, Any]:
        """Returns configuration fields, by dotted name, whose defaults these options determine."""
        return {}


class RecipeOptions(Options):
    """The options of a command that requires a recipe."""

    recipe: Name = Field(description=f"one of {', '.join(recipe_names())}, or a .yaml file")

    def base_recipe(self) -> str:
        """Returns the given recipe."""
        return self.recipe


O = TypeVar("O", bound=Section)  # noqa: E741


def check_values(options: type[O], values: Mapping[str, Any]) -> O:
    """Validates the values of options.

    Raises:
        ConfigError: options are missing or have wrong values; the message names each.
    """
    try:
        return options.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(options, dict(item)) for item in error.errors())) from None


def missing(options: type[Section], name: str) -> ConfigError:
    """Returns the error for a missing option."""
    info = options.model_fields[name]
    return ConfigError(f"{typed(name, info)} is missing: {info.description}")


def typed(name: str, info: FieldInfo) -> str:
    """Returns an option in command-line syntax with a placeholder for its value: "--bundle DIR"."""
    return f"{as_option(name)} {kind_of(info)}".rstrip()


def kind_of(info: FieldInfo) -> str:
    """Returns the placeholder for an option's value in --help; "" for a flag."""
    named = next((part.name for part in _parts(info) if isinstance(part, Kind)), None)
    if named:
        return named
    if choices_of(info):
        return "NAME"
    types = [part for part in _parts(info) if isinstance(part, type) and part is not NoneType]
    return {bool: "", int: "N", float: "X"}.get(types[0], "TEXT") if types else "TEXT"


def choices_of(info: FieldInfo) -> tuple[str, ...]:
    """Returns the allowed values of a field; () if it is not restricted to a list of names."""
    for part in _parts(info):
        if get_origin(part) is Literal:
            return get_args(part)
        if isinstance(part, WithJsonSchema) and part.json_schema:
            return tuple(part.json_schema["enum"])
    return ()


def _parts(info: FieldInfo) -> Iterator[Any]:
    """Yields a field's metadata, then its annotation and the types and metadata nested in it."""
    yield from info.metadata
    pending = [info.annotation]
    while pending:
        part = pending.pop(0)
        yield part
        if get_origin(part) is not Literal:
            pending += get_args(part)


def _sentence(options: type[Section], item: Mapping[str, Any]) -> str:
    message = str(item["msg"]).removeprefix("Value error, ")
    if not item["loc"]:
        return message
    name = str(item["loc"][0])
    if item["type"] == "missing":
        return str(missing(options, name))
    return f"{as_option(name)}: {message[0].lower()}{message[1:]} (given: {item['input']!r})"
