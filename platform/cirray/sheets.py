"""Pictures that people would rather look at: example queries with their best results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from cirray.data.pictures import Background, Picture, open_rgb
from cirray.files import replacing

RIGHT, WRONG, PLAIN = "#1a7f37", "#d0d7de", "#57606a"


@dataclass(frozen=True, slots=True)
class Example:
    """A query and what came back, best first; `target` is the one result that was wanted."""

    reference: Picture
    caption: str
    results: Sequence[Picture]
    target: Picture


def draw_queries(examples: Sequence[Example], title: str, background: Background, path: Path) -> None:
    """Draws one row a query: the reference with its caption, then the results; the target is framed in green."""
    columns = 1 + max(len(example.results) for example in examples)
    figure = Figure(figsize=(1.7 * columns + 1.2, 2.25 * len(examples) + 0.6), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(examples), columns, squeeze=False)
    for row, example in zip(axes, examples, strict=True):
        _show(row[0], example.reference, background, PLAIN, 2.0)
        row[0].set_title(_wrap(example.caption), fontsize=9, loc="left", color="#24292f", style="italic")
        for place, (cell, result) in enumerate(zip(row[1:], example.results, strict=False), start=1):
            hit = result == example.target
            _show(cell, result, background, RIGHT if hit else WRONG, 4.0 if hit else 1.0)
            cell.set_title(f"{place}" + ("  target" if hit else ""), fontsize=8, color=RIGHT if hit else PLAIN)
    figure.suptitle(title, fontsize=12, x=0.02, ha="left", fontweight="bold")
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _show(cell: Axes, picture: Picture, background: Background, colour: str, width: float) -> None:
    image = open_rgb(picture, background)
    image.thumbnail((256, 256), Image.Resampling.LANCZOS)
    cell.imshow(image)
    cell.set_xticks([])
    cell.set_yticks([])
    for spine in cell.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(width)


def _wrap(caption: str, width: int = 26, lines: int = 3) -> str:
    words, wrapped = caption.split(), [""]
    for word in words:
        if len(wrapped[-1]) + len(word) + 1 > width and wrapped[-1]:
            wrapped.append("")
        wrapped[-1] = f"{wrapped[-1]} {word}".strip()
    shown = wrapped[:lines]
    return "\n".join(shown) + ("…" if len(wrapped) > lines else "")
