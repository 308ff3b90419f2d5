"""Configuration choices found as modules: adding a module to the package adds the choice."""

from __future__ import annotations

from pathlib import Path
from pkgutil import iter_modules

from pydantic import WithJsonSchema
from pydantic.functional_validators import AfterValidator

_PACKAGE = Path(__file__).parents[1]


def module_names(*folder: str) -> tuple[str, ...]:
    """Returns the sorted names of the public modules in a folder of cirray, without importing them.

    Args:
        folder: path parts relative to the cirray package, such as "models", "combining".
    """
    modules = iter_modules([str(_PACKAGE.joinpath(*folder))])
    return tuple(sorted(module.name for module in modules if not module.name.startswith("_")))


def one_of(names: tuple[str, ...]) -> tuple[AfterValidator, WithJsonSchema]:
    """Returns the annotations of a string field restricted to `names`: a validator and a JSON schema."""

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return value

    return AfterValidator(check), WithJsonSchema({"type": "string", "enum": list(names)})


COMBINING_FUNCTIONS = module_names("models", "combining")
RERANKERS = module_names("models", "reranking")
DATA_FORMATS = module_names("data", "formats")
CATALOG_PRESETS = tuple(sorted(path.stem for path in _PACKAGE.joinpath("data", "catalog", "presets").glob("*.yaml")))
