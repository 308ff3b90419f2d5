"""A small catalog of coloured shapes in the `triplets` layout, for tests that train."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = {"red": "#d02020", "green": "#20a040", "blue": "#2040d0", "yellow": "#e0c020", "black": "#101010"}
SHAPES = ("square", "circle", "triangle", "bar")
SIZES = ("small", "large")


def write_small_catalog(root: Path) -> Path:
    """Draws 40 images. A triplet changes the colour; every fifth triplet is for validation."""
    (root / "images").mkdir(parents=True)
    items = [(c, s, z) for c in COLOURS for s in SHAPES for z in SIZES]
    lines = []
    for colour, shape, size in items:
        name = f"{size}-{colour}-{shape}"
        _draw(colour, shape, size).save(root / "images" / f"{name}.png")
        title = f"a {size} {colour} {shape}"
        lines.append({"id": name, "image": f"images/{name}.png", "title": title})
    _write(root / "catalog.jsonl", lines)
    triplets = [
        {
            "reference": f"{size}-{colour}-{shape}",
            "captions": [f"make it {wanted}", f"is {wanted} instead of {colour}"],
            "target": f"{size}-{wanted}-{shape}",
        }
        for colour, shape, size in items
        for wanted in COLOURS
        if wanted != colour
    ]
    _write(root / "triplets.train.jsonl", [t for row, t in enumerate(triplets) if row % 5])
    _write(root / "triplets.val.jsonl", triplets[::5])
    return root


def _draw(colour: str, shape: str, size: str) -> Image.Image:
    image = Image.new("RGB", (64, 64), "white")
    pen = ImageDraw.Draw(image)
    edge = 8 if size == "large" else 20
    box = (edge, edge, 64 - edge, 64 - edge)
    if shape == "square":
        pen.rectangle(box, fill=COLOURS[colour])
    elif shape == "circle":
        pen.ellipse(box, fill=COLOURS[colour])
    elif shape == "triangle":
        pen.polygon([(32, edge), (edge, 64 - edge), (64 - edge, 64 - edge)], fill=COLOURS[colour])
    else:
        pen.rectangle((edge, 26, 64 - edge, 38), fill=COLOURS[colour])
    return image


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
