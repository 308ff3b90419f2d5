"""A number of a plan with its formula and its basis."""

from __future__ import annotations

from typing import Literal

from cirray.config.section import Section

Basis = Literal["measured", "vendor", "formula", "assumed", "given"]


class Figure(Section):
    """One number of a plan. `low` and `high` are the ends of its error bar; None without one."""

    section: str
    name: str
    key: str
    value: float
    unit: str
    formula: str
    basis: Basis
    low: float | None = None
    high: float | None = None


class Sheet:
    """Collects the figures of a section."""

    def __init__(self, section: str) -> None:
        self.section = section
        self.figures: list[Figure] = []

    def add(
        self,
        key: str,
        name: str,
        value: float,
        unit: str,
        formula: str,
        basis: str,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        """Adds a figure to the section."""
        fields = {"key": key, "name": name, "value": value, "unit": unit, "formula": formula, "basis": basis}
        self.figures.append(Figure.model_validate({"section": self.section, **fields, "low": low, "high": high}))
