"""Accuracy of the formulas: errors at the measured points, error at a held-out point, and the error bar."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cirray.capacity.model import Model, fit_model
from cirray.capacity.points import Point
from cirray.config.section import Section

# Largest held-out error of the first formula of the graph, without `linked`, at a point with a graph (disk at
# 100,000 x 128). Held out, 10,000 x 128 is 82% off in memory, as no other point determines the fixed part. The formula
# was then changed to fit these points, so they cannot test it again; `held_out_error` uses 1,000,000 x 128, measured
# later.
UNSEEN = 0.129


class Check(Section):
    """Relative errors of the formulas at a measured point: predicted / measured - 1.

    None: there is no formula, or it has as many coefficients as there are points, so that the error is always 0.
    """

    point: str
    memory: float
    disk: float
    search: float | None
    build: float | None


class ErrorBar(Section):
    """Relative uncertainty of bytes.

    Attributes:
        worst: the largest relative error of memory or disk at a measured point.
        held_out: the same at the largest point, predicted from the others alone.
        unseen: the same of the formula before it was changed to fit, see UNSEEN; a lower bound of the bar.
        factor: size of the plan / largest measured size.
        relative: the error bar.
    """

    worst: float
    held_out: float
    unseen: float = UNSEEN
    factor: float
    relative: float
    rule: str = (
        "max(worst, held_out, unseen) x max(1, log10(factor)): unchanged up to a factor of 10, once more per further 10"
    )


def error_bar(worst: float, held_out: float, factor: float) -> ErrorBar:
    """Returns the error bar; see `ErrorBar`."""
    relative = max(worst, held_out, UNSEEN) * max(1.0, math.log10(max(factor, 1.0)))
    return ErrorBar(worst=worst, held_out=held_out, factor=factor, relative=relative)


def check_points(model: Model, points: Sequence[Point]) -> list[Check]:
    """Returns the error of the formulas at every measured point."""
    plain = [point for point in points if point.quantization == "none"]
    graphs = sum(point.has_graph for point in plain)
    tests = {True: graphs > 2, False: len(plain) - graphs > 1}
    return [
        Check(
            point=point.name,
            memory=model.point_memory(point) / point.memory_bytes - 1,
            disk=model.point_disk(point) / point.disk_bytes - 1,
            search=_search_error(model, point) if tests[point.has_graph] else None,
            build=_build_error(model, point) if tests[True] else None,
        )
        for point in points
    ]


def held_out_error(points: Sequence[Point]) -> float:
    """Returns the larger relative error of memory and disk at the largest point, fitted without it."""
    plain = [point for point in points if point.quantization == "none"]
    largest = max(plain, key=lambda point: (point.items, point.dim))
    others = [point for point in points if point is not largest]
    check = check_points(fit_model(others), [largest])[0]
    return max(abs(check.memory), abs(check.disk))


def _search_error(model: Model, point: Point) -> float | None:
    if point.quantization != "none":
        return None
    predicted = model.search_core_s(point.items, point.dim, point.ef_search, point.threshold_kb)
    return 1000 * predicted / point.query_core_ms - 1


def _build_error(model: Model, point: Point) -> float | None:
    if point.quantization != "none" or not point.has_graph:
        return None
    return model.build_core_s(point.items, point.dim, point.threshold_kb, point.linked) / point.build_core_s - 1
