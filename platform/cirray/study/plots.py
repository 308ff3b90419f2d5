"""The plots of the study's report, as PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cirray.study.findings import Finding
from cirray.study.scores import Scores
from cirray.study.variants import Variant

TARGET, OTHER = "#1a7f37", "#8c959f"
_BINS = 60
# The colour of each variant: grey for single modalities, green before fine-tuning, warm after it.
_COLOURS = {"image only": "#57606a", "text only": "#b1bac4", "Sum": "#7fc0a8", "FT Sum": "#e3ac48"}
_TRAINED, _FINE_TUNED_AND_TRAINED = "#0b5345", "#b8462f"


def similarity_plot(scores: Mapping[str, Scores]) -> bytes:
    """Plots cosines of queries with their targets and with other images, one panel per variant on a common scale."""
    figure, panels = _panels(len(scores), 2.1)
    low = min(float(min(found.positive.min(), found.negative.min())) for found in scores.values())
    edges = torch.linspace(low, 1.0, _BINS).tolist()
    for axes, (name, found) in zip(panels, scores.items(), strict=True):
        others = found.negative.flatten().numpy()
        axes.hist(others, edges, density=True, color=OTHER, alpha=0.7, label="other images")
        axes.hist(found.positive.numpy(), edges, density=True, color=TARGET, alpha=0.7, label="target")
        axes.set_title(name, fontsize=10)
        axes.set_yticks([])
        axes.set_xlabel("cosine")
    panels[0].legend(frameon=False, fontsize=8)
    return _png(figure)


def spectrum_plot(scores: Mapping[str, Scores]) -> bytes:
    """Plots the spectrum of the queries; a flatter curve uses more of the space."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, found in scores.items():
        axes.plot(found.spectrum.tolist(), label=name, color=_colour(name))
    axes.set_yscale("log")
    axes.set_ylim(bottom=1e-5)
    axes.set_xlabel("direction, strongest first")
    axes.set_ylabel("share of the singular values")
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def claim_plot(findings: Sequence[Finding], k: int) -> bytes:
    """Plots each measure against recall, one point per variant."""
    titles = {
        "rank": "effective rank of queries",
        "uniformity": "uniformity of queries (lower: more even)",
        "separation": "P(target nearer than another image)",
        "alignment": "squared distance to the target",
        "sparsity": "sparsity of queries",
    }
    figure, (*panels, free) = _panels(len(titles) + 1, 2.6)
    for axes, (measure, title) in zip(panels, titles.items(), strict=True):
        for finding in findings:
            place = getattr(finding, measure), finding.metrics[f"R@{k}"]
            axes.plot(*place, "o", color=_colour(finding.name), label=finding.name)
        axes.set_title(title, fontsize=9)
        axes.set_ylabel(f"R@{k}")
        axes.margins(0.18)
    free.axis("off")
    free.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="center left")
    return _png(figure)


def text_weight_plot(variants: Sequence[Variant]) -> bytes:
    """Plots the distribution of the text weight (the paper's lambda) of each combining function that has one."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    edges = torch.linspace(0, 1, _BINS).tolist()
    for variant in variants:
        if variant.text_weight is not None:
            axes.hist(variant.text_weight.tolist(), edges, alpha=0.6, label=variant.name, color=_colour(variant.name))
    axes.set_xlabel("text weight: 0 = image only, 1 = text only (plus the learned mixture)")
    axes.set_ylabel("queries")
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def group_plot(groups: Mapping[str, Mapping[str, tuple[int, float]]], k: int) -> bytes:
    """Plots recall by group, one bar per variant.

    Args:
        groups: variant -> group -> (number of queries, R@k in percent).
    """
    names = list(next(iter(groups.values())))
    figure = Figure(figsize=(9, 0.9 + 0.16 * len(groups) * len(names) + 0.25 * len(names)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(groups)
    for number, (variant, found) in enumerate(groups.items()):
        positions = [row + number * height for row in range(len(names))]
        axes.barh(positions, [found[name][1] for name in names], height, label=variant, color=_colour(variant))
    counts = next(iter(groups.values()))
    axes.set_yticks(
        [row + 0.4 - height / 2 for row in range(len(names))],
        [f"{name} ({counts[name][0]:,})" for name in names],
        parse_math=False,  # the names come from the data
    )
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"R@{k}, percent")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return _png(figure)


def _colour(name: str) -> str:
    trained = _FINE_TUNED_AND_TRAINED if name.startswith("FT ") else _TRAINED
    return _COLOURS.get(name, trained)


def _panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(count, 3)
    lines = -(-count // columns)
    figure = Figure(figsize=(3.4 * columns, height * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    flat = [axes for line in grid for axes in line]
    for axes in flat[count:]:
        axes.axis("off")
    return figure, flat[:count]


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    target = BytesIO()
    figure.savefig(target, format="png", dpi=110)
    return target.getvalue()
