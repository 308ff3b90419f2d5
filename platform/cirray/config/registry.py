"""Configuration choices that are the modules of a package: a new module is a new choice, listed nowhere else."""

from __future__ import annotations

from pathlib import Path
from pkgutil import iter_modules

from pydantic import WithJsonSchema
from pydantic.functional_validators import AfterValidator

_PACKAGE = Path(__file__).parents[1]


def module_names(*folder: str) -> tuple[str, ...]:
    """Returns the sorted names of the public modules below a folder of cirray, without importing them.

    Args:
        folder: path below the package, such as "models", "combining".
    """
    found = iter_modules([str(_PACKAGE.joinpath(*folder))])
    return tuple(sorted(module.name for module in found if not module.name.startswith("_")))


def one_of(names: tuple[str, ...]) -> tuple[AfterValidator, WithJsonSchema]:
    """Returns the annotations of a text field that takes one of `names`: its validator and its JSON schema."""

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return value

    return AfterValidator(check), WithJsonSchema({"type": "string", "enum": list(names)})


COMBINING_FUNCTIONS = module_names("models", "combining")
DATA_FORMATS = module_names("data", "formats")
CATALOG_PRESETS = tuple(sorted(path.stem for path in _PACKAGE.joinpath("data", "catalog", "presets").glob("*.yaml")))
