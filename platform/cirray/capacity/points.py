"""Points measured with `benchmarks/bench_edge.py`; the default ones are in capacity_points.json."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from cirray.capacity.formulas import has_graph
from cirray.capacity.inputs import Positive, Quantization
from cirray.config.section import Section
from cirray.errors import ConfigError
from cirray.storage.files import read_json


class Point(Section):
    """One measured size of the embedded index; see `benchmarks/bench_edge.py` for the measurement."""

    items: Positive
    dim: Positive
    quantization: Quantization
    m: int = Field(ge=2)
    ef_construct: Positive
    ef_search: Positive
    threshold_kb: Positive
    payload_bytes: Positive
    indexed: Positive
    linked: int = Field(ge=0)
    disk_bytes: Positive
    disk: dict[str, int]
    upload_s: float
    build_s: float
    build_core_s: float
    open_s: float
    memory_bytes: Positive
    pss_bytes: int
    private_bytes: int
    query_p50_ms: float
    query_p95_ms: float
    query_p99_ms: float
    query_core_ms: float
    batch_ms: float
    batch_core_ms: float
    recall_at_10: float

    @property
    def name(self) -> str:
        """Display name."""
        return f"{self.items:,} x {self.dim}" + ("" if self.quantization == "none" else f" {self.quantization}")

    @property
    def has_graph(self) -> bool:
        """Whether the index was large enough for a graph."""
        return has_graph(self.items, self.dim, self.threshold_kb)


class Points(Section):
    """A file of measured points."""

    engine: str
    machine: str
    measured: str
    command: str
    points: tuple[Point, ...]

    @model_validator(mode="after")
    def _has_enough_points(self) -> Points:
        plain = [point for point in self.points if point.quantization == "none"]
        if sum(point.has_graph for point in plain) < 2 or len(plain) < 3:
            raise ValueError("needs three sizes without quantization, two of them large enough for a graph")
        return self


def read_points(path: Path | None = None) -> Points:
    """Reads measured points from a file of `benchmarks/bench_edge.py --write`; None reads the default points.

    Raises:
        ConfigError: the file is missing or invalid, or has too few points.
    """
    try:
        if path is not None:
            return Points.model_validate(read_json(path))
        text = resources.files("cirray.capacity").joinpath("capacity_points.json").read_text(encoding="utf-8")
        return Points.model_validate_json(text)
    except FileNotFoundError:
        raise ConfigError(f"--points {path} does not exist: see docs/capacity.md for how to measure") from None
    except (ValidationError, ValueError) as error:
        raise ConfigError(f"--points {path} is not a file of measured points: {error}") from None
