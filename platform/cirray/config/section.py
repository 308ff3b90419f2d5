"""Base classes of configuration sections and of the commands' configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(ge=1)]


Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class Section(BaseModel):
    """Base class of all sections: immutable, rejects unknown fields, validates defaults.

    Attributes:
        former_names: former field name -> current one, so that files written by older versions still load.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
    former_names: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _rename_former_fields(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not cls.former_names.keys() & values.keys():
            return values
        return {cls.former_names.get(name, name): value for name, value in values.items()}


class Configuration(Section):
    """Base class of a command's configuration: sections and top-level fields. Every field has a default."""

    def to_yaml(self) -> str:
        """Returns the complete configuration as YAML, in declaration order."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


class JobConfig(Configuration):
    """The fields of every job on a Ray cluster."""

    output: str = Field("", description="folder or URI for the results")
    store: str = Field("", description="feature store, folder or URI; empty = $CIRRAY_HOME/store or ~/.cache/...")
    workers: Positive = Field(1, description="Ray workers, each with one CPU or GPU")
