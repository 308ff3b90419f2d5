"""Attribute filters, in the syntax of the API.

    {"category": "dress"}                          equals
    {"colour": ["red", "orange"]}                  any of
    {"price": {"gte": 20, "lt": 50}}               range
    {"colour": {"not": "black"}}                   not (a value, or any of a list)

All conditions of a filter must match. A missing attribute equals no value and is in no range.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

ATTRIBUTE = r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$"
MAX_VALUES = 100
MAX_CONDITIONS = 16
MAX_TEXT = 200
# Larger integers are not exact as 64-bit floats, which Qdrant compares ranges as.
MAX_NUMBER = 2**53


def _no_integer(value: Any) -> Any:
    """Rejects integers, which Pydantic's strict floats accept: they must pass the MAX_NUMBER check of `Integer`."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"integers must be from -{MAX_NUMBER} to {MAX_NUMBER}")
    return value


Text = Annotated[StrictStr, Field(max_length=MAX_TEXT)]
Integer = Annotated[StrictInt, Field(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Real = Annotated[StrictFloat, Field(ge=-1e300, le=1e300, allow_inf_nan=False), BeforeValidator(_no_integer)]
Number = Integer | Real
Scalar = StrictBool | Integer | Real | Text
Values = Annotated[list[Scalar], Field(min_length=1, max_length=MAX_VALUES)]


class Bounds(BaseModel):
    """A range of numbers, an excluded value or excluded values, or both."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    gt: Number | None = None
    gte: Number | None = None
    lt: Number | None = None
    lte: Number | None = None
    excluded: Scalar | Values | None = Field(None, alias="not")

    @model_validator(mode="after")
    def _is_not_empty(self) -> Bounds:
        if not self.model_fields_set or all(getattr(self, name) is None for name in self.model_fields_set):
            raise ValueError("give at least one of gt, gte, lt, lte, not")
        return self

    @property
    def has_range(self) -> bool:
        """Whether any of the four bounds is given."""
        return any(value is not None for value in (self.gt, self.gte, self.lt, self.lte))


Condition = Scalar | Values | Bounds


class Filter(RootModel[dict[Annotated[str, Field(pattern=ATTRIBUTE)], Condition]]):
    """Attribute name -> condition; see the module docstring."""

    model_config = ConfigDict(frozen=True)

    root: Annotated[dict[Annotated[str, Field(pattern=ATTRIBUTE)], Condition], Field(max_length=MAX_CONDITIONS)] = (
        Field(default_factory=dict)
    )
