"""The base of all configuration sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(ge=1)]


Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class Section(BaseModel):
    """Base of all sections: frozen, no unknown fields, defaults validated too.

    Attributes:
        former_names: former field name -> today's, so that files written by older versions still load.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
    former_names: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _take_former_names(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not cls.former_names.keys() & values.keys():
            return values
        return {cls.former_names.get(name, name): value for name, value in values.items()}
