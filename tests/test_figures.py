"""Pictures of queries: nothing lies over anything else, whatever the captions are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.transforms import Bbox
from PIL import Image

from cirray.evaluation.figures import Example, draw_queries, queries_figure, wrap

LONG = "is longer, with thinner straps and a deeper neckline, has a floral print in red and is for the evening " * 3
CAPTIONS = {
    "short": ["is red"] * 3,
    "empty": ["", "is red"],
    "of many lengths": ["is red", LONG[:40], LONG[:90], LONG],
    "long": [LONG] * 4,
    "one": [LONG],
    "words wider than a line": ["W" * 90, "make_it_red_" * 9],
    "dollars": [r"is $\frac$ less", "costs $5, not $9", "$"],
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, found = tmp_path_factory.mktemp("pictures"), []
    for number, size in enumerate([(40, 40), (20, 60), (60, 20)]):
        found.append(folder / f"{number}.png")
        Image.new("RGB", size, (200, 40 * number, 40)).save(found[-1])
    return found


def boxes(examples: Sequence[Example], title: str) -> tuple[Bbox, dict[str, Bbox]]:
    """Returns the box of the sheet, and of each text and picture on it, in pixels."""
    figure = queries_figure(examples, title, "white")
    figure.draw_without_rendering()
    found = {f"text {n}: {t.get_text()!r}": t.get_window_extent() for n, t in enumerate(figure.texts) if t.get_text()}
    return figure.bbox, {**found, **{f"picture {n}": axes.get_window_extent() for n, axes in enumerate(figure.axes)}}


@pytest.mark.parametrize("captions", CAPTIONS.values(), ids=CAPTIONS)
@pytest.mark.parametrize(
    ("note", "title"), [("", "FT Combiner: failures"), ("target: place 2,279", "/a/folder/of/recipes" * 9)]
)
def test_nothing_overlaps(captions: list[str], note: str, title: str, pictures: list[Path]) -> None:
    examples = [Example(pictures[row % 3], text, pictures, pictures[1], note) for row, text in enumerate(captions)]
    sheet, found = boxes(examples, title)
    for (one, box), (two, other) in combinations(found.items(), 2):
        shared = Bbox.intersection(box, other)
        # a pixel: where glyphs are hinted to
        assert shared is None or shared.width <= 1 or shared.height <= 1, f"{one} lies over {two}"
    for name, box in found.items():
        assert box.x0 >= sheet.x0 and box.x1 <= sheet.x1 and box.y0 >= sheet.y0 and box.y1 <= sheet.y1, name


def test_a_note_is_shown_below_a_caption_that_is_cut(pictures: list[Path]) -> None:
    _, found = boxes([Example(pictures[0], LONG, pictures, pictures[1], "target: place 7")], "failures")
    (caption,) = [name for name in found if "place 7" in name]
    assert r"…\ntarget: place 7" in caption


def test_the_sheet_is_written_as_png(pictures: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "queries.png"
    draw_queries([Example(pictures[0], "is red", pictures, pictures[1])], "tiny: example queries", "white", path)
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.width > 600


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text("ab $…", max_size=60), st.integers(1, 12), st.integers(1, 5))
def test_wrapping_loses_nothing_and_fits(text: str, width: int, most: int) -> None:
    whole = wrap(text, lambda line: len(line) <= width, 99)
    assert "".join(whole).replace(" ", "") == "".join(text.split())
    assert whole[:1] == [""] or all(0 < len(line) <= width for line in whole)
    cut = wrap(text, lambda line: len(line) <= width, most)
    assert len(cut) <= most and all(len(line) <= width for line in cut)
    assert cut == whole if len(whole) <= most else cut[:-1] == whole[: most - 1] and cut[-1].endswith("…")


def test_all_right_answers_are_marked_and_places_are_shown(pictures: list[Path]) -> None:
    one, two, three = pictures
    example = Example(one, "is red", [one, two, three], two, also_right=[three], places=[1, 2, 1234])
    labels = [text.get_text() for text in queries_figure([example], "title", "white").texts]
    assert labels[-3:] == ["1", "2  target", "1,234  right"]
    plain = queries_figure([Example(one, "is red", [one, two], two)], "title", "white")
    assert [text.get_text() for text in plain.texts][-2:] == ["1", "2  target"]
