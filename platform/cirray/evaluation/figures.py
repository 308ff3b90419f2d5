"""Figures of example queries with their best results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from PIL import Image

from cirray.data.images import Background, open_rgb
from cirray.storage.files import replacing
from cirray.storage.tree import File

RIGHT, WRONG, PLAIN, TEXT = "#1a7f37", "#d0d7de", "#57606a", "#24292f"

Align = Literal["left", "center"]

# In inches. All positions are computed here: matplotlib's tight layout measures axes before pictures set their aspect
# ratio, so long captions would overlap the row above.
_CELL, _GAP, _MARGIN = 1.7, 0.15, 0.15
_PAD = 0.07
_LEADING = 1.3 / 72  # line height in inches per point of font size
_DPI = 110
_CAPTION = FontProperties(size=9, style="italic")
_RANK = FontProperties(size=8)
_TITLE = FontProperties(size=12, weight="bold")
_CAPTION_LINES, _TITLE_LINES = 5, 2


@dataclass(frozen=True, slots=True)
class Example:
    """A query with its results.

    Attributes:
        reference: the reference image.
        caption: the relative caption.
        results: the best results, best first.
        target: the target image, which may be missing in `results`.
        note: a remark on the query, shown in one line below the caption and shortened if too long.
        also_right: further right answers.
        places: the place of each result in the ranking, from 1; () if they are the first ones.
    """

    reference: File
    caption: str
    results: Sequence[File]
    target: File
    note: str = ""
    also_right: Sequence[File] = ()
    places: Sequence[int] = ()


def draw_queries(examples: Sequence[Example], title: str, background: Background, path: Path) -> None:
    """Writes a PNG with one row per query: the reference with its caption, then the results.

    The target and other right answers have a green frame.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(queries_png(examples, title, background))


def queries_png(examples: Sequence[Example], title: str, background: Background) -> bytes:
    """Returns the figure of `draw_queries` as PNG."""
    target = BytesIO()
    queries_figure(examples, title, background).savefig(target, format="png")
    return target.getvalue()


def queries_figure(examples: Sequence[Example], title: str, background: Background) -> Figure:
    """Returns the figure of `draw_queries`; the height of each row depends on its caption."""
    columns = 1 + max(len(example.results) for example in examples)
    width = 2 * _MARGIN + columns * _CELL + (columns - 1) * _GAP
    heading = wrap(title, partial(_fits, _TITLE, width - 2 * _MARGIN), _TITLE_LINES)
    captions = [_caption(example) for example in examples]
    above = _MARGIN + _height(heading, _TITLE) + _GAP
    rows = [_height(lines, _CAPTION) + _PAD + _CELL + _GAP for lines in captions]
    figure = Figure(figsize=(width, above + sum(rows)), dpi=_DPI)
    FigureCanvasAgg(figure)
    _write(figure, "\n".join(heading), _TITLE, _MARGIN, _MARGIN + _height(heading, _TITLE), TEXT)
    for number, (example, lines) in enumerate(zip(examples, captions, strict=True)):
        top = above + sum(rows[: number + 1]) - _CELL - _GAP
        _write(figure, "\n".join(lines), _CAPTION, _MARGIN, top - _PAD, TEXT)
        _show(_cell(figure, 0, top), example.reference, background, PLAIN, 2.0)
        for rank, result in enumerate(example.results, start=1):
            name = "target" if result == example.target else "right" if result in example.also_right else ""
            hit = bool(name)
            _show(_cell(figure, rank, top), result, background, RIGHT if hit else WRONG, 4.0 if hit else 1.0)
            middle = _left(rank) + _CELL / 2
            label = f"{example.places[rank - 1] if example.places else rank:,}  {name}".rstrip()
            _write(figure, label, _RANK, middle, top - _PAD, RIGHT if hit else PLAIN, "center")
    return figure


def wrap(text: str, fits: Callable[[str], bool], max_lines: int) -> list[str]:
    """Breaks a text into 1 to `max_lines` lines that fit.

    Words wider than a line are broken. A text that is too long is cut and ends with an ellipsis.

    Args:
        text: the text.
        fits: whether a string fits into one line.
        max_lines: maximum number of lines.
    """
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if fits(joined):
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and not fits(lines[-1] + letter):
                lines.append("")
            lines[-1] += letter
        if len(lines) > max_lines:
            break
    if len(lines) <= max_lines:
        return lines
    last = lines[max_lines - 1]
    while last and not fits(f"{last}…"):
        last = last[:-1]
    return [*lines[: max_lines - 1], f"{last}…"]


def _caption(example: Example) -> list[str]:
    fits = partial(_fits, _CAPTION, _CELL)
    lines = wrap(example.caption, fits, _CAPTION_LINES)
    return [*lines, *wrap(example.note, fits, 1)] if example.note else lines


def _fits(font: FontProperties, width: float, text: str) -> bool:
    return bool(RendererAgg(1, 1, _DPI).get_text_width_height_descent(text, font, False)[0] <= width * _DPI)


def _height(lines: Sequence[str], font: FontProperties) -> float:
    return len(lines) * font.get_size_in_points() * _LEADING


def _left(column: int) -> float:
    return _MARGIN + column * (_CELL + _GAP)


def _write(
    figure: Figure, text: str, font: FontProperties, left: float, bottom: float, colour: str, align: Align = "left"
) -> None:
    """Draws text at `left` inches; its last line ends `bottom` inches below the upper edge of the figure."""
    width, height = figure.get_size_inches()
    figure.text(
        left / width,
        1 - bottom / height,
        text,
        fontproperties=font,
        color=colour,
        ha=align,
        va="bottom",
        linespacing=1.2,
        parse_math=False,  # a dollar sign in a caption is a price, not TeX
    )


def _cell(figure: Figure, column: int, top: float) -> Axes:
    width, height = figure.get_size_inches()
    return figure.add_axes(
        (_left(column) / width, 1 - (top + _CELL) / height, _CELL / width, _CELL / height), anchor="N"
    )


def _show(cell: Axes, picture: File, background: Background, colour: str, width: float) -> None:
    image = open_rgb(picture, background)
    image.thumbnail((256, 256), Image.Resampling.LANCZOS)
    cell.imshow(image)
    cell.set_xticks([])
    cell.set_yticks([])
    for spine in cell.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(width)
