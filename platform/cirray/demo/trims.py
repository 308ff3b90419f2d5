"""Details on a garment: collars, plackets, buttons, ribbing, stitches, labels and logos."""

from __future__ import annotations

import math

import numpy as np

from cirray.demo.attributes import Garment
from cirray.demo.canvas import Array, Canvas
from cirray.demo.fabrics import Rgb, lit, shade_of
from cirray.demo.proportions import BODIES
from cirray.demo.silhouettes import Cut, curve, mirrored

_BUTTON: Rgb = (250, 246, 236)
_DARK_BUTTON: Rgb = (66, 58, 54)


def _is_light(rgb: Rgb) -> bool:
    return 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2] > 170


def _polygon(*points: tuple[float, float]) -> Array:
    return np.array(points, np.float64)


def stitch(canvas: Canvas, path: Array) -> None:
    """Draws a row of stitches."""
    canvas.darken(canvas.stroke(0.004, path, dashes=True), 0.28)


def rib(canvas: Canvas, path: Array, within: Array, base: Rgb, width: float = 0.017) -> None:
    """Draws ribbing along an edge of the fabric; `within` is the mask of the fabric."""
    band = np.minimum(canvas.stroke(2 * width, path), within)
    canvas.paint(band, shade_of(base, 0.84 if sum(base) > 180 else 1.5))
    canvas.darken(np.minimum(canvas.stroke(0.004, path), within), 0.25)


def buttons(canvas: Canvas, centres: list[tuple[float, float]], base: Rgb) -> None:
    """Draws buttons with a shadow around them and a dark centre."""
    if not centres:
        return
    canvas.darken(canvas.discs(0.0135, [(x + 0.001, y + 0.002) for x, y in centres]), 0.4)
    canvas.paint(canvas.discs(0.0105, centres), _DARK_BUTTON if _is_light(base) else _BUTTON)
    canvas.darken(canvas.discs(0.0035, centres), 0.45)


def shirt_front(canvas: Canvas, garment: Garment, cut: Cut, colours: Array, base: Rgb) -> None:
    """Draws the placket, its buttons and the collar; `colours` are the unlit colours of their fabric."""
    polo = garment.neckline == "polo collar"
    top = float(cut.neckline[:, 1].max()) - 0.004
    bottom = top + 0.17 if polo else float(cut.hem[:, 1].max()) - 0.002
    half = 0.017
    strip = canvas.polygon(_polygon((-half, top), (half, top), (half, bottom), (-half, bottom)))
    canvas.paint(strip * canvas.alpha, lit(colours, np.full(strip.shape, 1.05, np.float32)))
    edges = [_polygon((x, top), (x, bottom)) for x in (-half, half)]
    canvas.darken(canvas.stroke(0.005, *edges) * canvas.alpha, 0.34)
    if polo:
        canvas.darken(canvas.stroke(0.005, _polygon((-half, bottom), (half, bottom))), 0.34)
    gap = 0.056 if polo else 0.098
    first = top + (0.035 if garment.neckline != "open collar" else 0.03)
    buttons(canvas, [(0.0, y) for y in np.arange(first, bottom - 0.03, gap)], base)
    # The collar of a printed shirt is plain: its shape would be invisible in the print.
    plain = np.broadcast_to(np.array(base, np.float32), colours.shape)
    _collar(canvas, garment, colours if garment.pattern == "plain" else plain, base)


def _collar(canvas: Canvas, garment: Garment, colours: Array, base: Rgb) -> None:
    x, y = BODIES["shirt"].neck
    if garment.neckline == "band collar":
        _band(canvas, x, y, colours, base)
        return
    stand = np.vstack([curve(((-x, y + 0.004), (0, y - 0.022), (x, y + 0.004))), _polygon((0, y + 0.028))])
    canvas.paint(canvas.polygon(stand), shade_of(base, 0.7))
    if garment.neckline == "open collar":
        leaf = _polygon(
            (x - 0.012, y - 0.016), (x + 0.034, y + 0.012), (x + 0.062, y + 0.082), (x + 0.018, y + 0.084),
            (x + 0.022, y + 0.104), (0.004, y + 0.18), (x - 0.03, y + 0.074),
        )  # fmt: skip
    elif garment.neckline == "polo collar":
        leaf = curve(
            ((x - 0.02, y - 0.017), (x + 0.022, y + 0.006), (x + 0.036, y + 0.055), (x + 0.0, y + 0.1),
             (0.006, y + 0.056), (x - 0.036, y + 0.02), (x - 0.02, y - 0.017)), 5,
        )  # fmt: skip
    else:
        leaf = _polygon(
            (x - 0.016, y - 0.017), (x + 0.026, y + 0.008), (x + 0.046, y + 0.066), (x - 0.008, y + 0.122),
            (0.003, y + 0.058), (x - 0.036, y + 0.022),
        )  # fmt: skip
    leaves = (leaf, mirrored(leaf))
    mask = canvas.polygon(*leaves)
    canvas.cast(mask, 0.5)
    canvas.paint(mask, lit(colours, 1.1 - 0.5 * np.clip(np.abs(canvas.x) - 0.05, 0, 1)))
    outlines = [np.vstack([p, p[:1]]) for p in leaves]
    canvas.darken(canvas.stroke(0.0045, *outlines) * mask, 0.34)
    if garment.neckline == "classic collar":
        buttons(canvas, [(0.0, y + 0.064)], base)


def _band(canvas: Canvas, x: float, y: float, colours: Array, base: Rgb) -> None:
    """Draws a band collar, slit in the middle."""
    angle = np.linspace(-math.pi / 2, math.pi / 2, 25)
    low = np.c_[(x + 0.004) * np.sin(angle), y + 0.006 + 0.056 * np.cos(angle)]
    high = np.c_[(x - 0.008) * np.sin(angle), y - 0.026 + 0.05 * np.cos(angle)]
    behind = np.c_[high[:, 0], y - 0.026 - 0.014 * np.cos(angle)]
    canvas.paint(canvas.polygon(np.vstack([behind, high[::-1]])), shade_of(base, 0.62))
    canvas.paint(canvas.stroke(0.005, behind), shade_of(base, 0.9))
    mask = canvas.polygon(np.vstack([low, high[::-1]]))
    canvas.cast(mask, 0.4)
    canvas.paint(mask, lit(colours, 1.1 - 10 * canvas.x**2))
    canvas.darken(canvas.stroke(0.005, low) * mask, 0.45)
    canvas.darken(canvas.stroke(0.006, _polygon((0, y + 0.02), (0, y + 0.062))), 0.5)


def tag(canvas: Canvas, garment: Garment, cut: Cut) -> None:
    """Draws the label inside the back of the neck."""
    y = float(cut.back_edge[:, 1].max())
    half = 0.016 if garment.category != "dress" else 0.011
    label = _polygon((-half, y), (half, y), (half, y + half), (-half, y + half))
    canvas.paint(canvas.polygon(label), (236, 234, 228))


def logo(canvas: Canvas, garment: Garment, base: Rgb, rng: np.random.Generator) -> None:
    """Draws a logo: large in the centre of a top, small on the side of a shirt, which has buttons in the centre."""
    x, y, size = (0.0, 0.335, 0.088) if garment.category == "toptee" else (0.095, 0.315, 0.056)
    light = _is_light(base)
    ink: Rgb = (36, 52, 96) if light else (250, 248, 242)
    spot: Rgb = (226, 62, 58) if light or sum(base) < 180 else (255, 208, 74)
    if base[0] > 180 and base[1] < 80:  # a red spot is invisible on red fabric
        spot = (34, 44, 74)
    emblem = (_sunset, _star, _peak)[rng.integers(3)]
    emblem(canvas, x, y, size, ink, spot)


def _sunset(canvas: Canvas, x: float, y: float, size: float, ink: Rgb, spot: Rgb) -> None:
    disc = canvas.discs(size, [(x, y)])
    canvas.paint(disc, ink)
    canvas.paint(canvas.discs(size * 0.62, [(x, y)]), spot)
    lines = [_polygon((x - size, y + size * k), (x + size, y + size * k)) for k in (0.2, 0.45, 0.7)]
    canvas.paint(canvas.stroke(size * 0.1, *lines) * disc, ink)


def _star(canvas: Canvas, x: float, y: float, size: float, ink: Rgb, spot: Rgb) -> None:
    canvas.paint(canvas.discs(size, [(x, y)]), ink)
    turns = np.arange(10) * math.pi / 5 - math.pi / 2
    reach = np.where(np.arange(10) % 2 == 0, 0.82, 0.36) * size
    canvas.paint(canvas.polygon(np.c_[x + reach * np.cos(turns), y + reach * np.sin(turns)]), spot)


def _peak(canvas: Canvas, x: float, y: float, size: float, ink: Rgb, spot: Rgb) -> None:
    canvas.paint(canvas.discs(size * 0.36, [(x + size * 0.5, y - size * 0.6)]), spot)
    peak = np.array([x, y])
    rock = _polygon((-1.1, 0.75), (-0.15, -0.8), (1.0, 0.75))
    snow = _polygon((-0.15, -0.8), (0.22, -0.3), (-0.1, -0.05), (-0.46, -0.28))
    canvas.paint(canvas.polygon(peak + rock * size), ink)
    canvas.paint(canvas.polygon(peak + snow * size), spot)
