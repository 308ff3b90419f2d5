"""Renders a garment as a product photograph."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from cirray.demo import trims
from cirray.demo.attributes import Garment
from cirray.demo.canvas import Array, Canvas, blurred, smooth_noise
from cirray.demo.fabrics import Cloth, lit, relief, shade_of
from cirray.demo.proportions import BODIES, WAIST
from cirray.demo.silhouettes import Cut, SleeveCut, cut


def draw(garment: Garment, rng: np.random.Generator) -> Image.Image:
    """A photograph of the garment: RGB, square, 192 pixels a side.

    Args:
        garment: what to draw.
        rng: source of everything that the attributes do not determine: pose, exact colour, folds, light.
    """
    canvas = _pose(garment, rng)
    pieces = cut(garment, rng)
    cloth = Cloth(garment.colour, garment.pattern, rng)
    creases = smooth_noise(rng, 5, 9)

    _back(canvas, garment, pieces, cloth)
    for sleeve in pieces.sleeves:
        _sleeve(canvas, garment, sleeve, cloth, creases, rng)
    colours = _front(canvas, garment, pieces, cloth, creases, rng)
    if garment.category == "shirt":
        trims.shirt_front(canvas, garment, pieces, colours, cloth.base)
    if garment.logo:
        trims.logo(canvas, garment, cloth.base, rng)
    if pieces.ruffle is not None:
        _ruffle(canvas, pieces.ruffle, cloth, rng)
    return canvas.photograph(rng)


def _pose(garment: Garment, rng: np.random.Generator) -> Canvas:
    """The pose: zooms in slightly on short garments; their length stays recognisable."""
    body = BODIES[garment.category]
    top, bottom, lowest = body.neck[1], body.hems[garment.length], max(body.hems.values())
    zoom = body.zoom * ((lowest - top) / (bottom - top)) ** body.approach * float(rng.uniform(0.975, 1.02))
    collar = 0.04 if garment.category == "shirt" else 0.0
    middle = (top - collar + bottom) / 2 - 0.5
    down = float(rng.uniform(-0.008, 0.008)) - 0.85 * middle * zoom
    return Canvas((float(rng.uniform(-0.012, 0.012)), down), math.radians(rng.uniform(-1.8, 1.8)), zoom)


def _back(canvas: Canvas, garment: Garment, pieces: Cut, cloth: Cloth) -> None:
    """The shaded inside of the back, behind the neckline."""
    inside = canvas.polygon(pieces.back)
    canvas.paint(inside, shade_of(cloth.base, 0.58))
    if garment.neckline != "off-shoulder":
        trims.rib(canvas, pieces.back_edge, inside, shade_of(cloth.base, 0.8), 0.012)
        if garment.category != "shirt":
            trims.tag(canvas, garment, pieces)


def _sleeve(
    canvas: Canvas,
    garment: Garment,
    sleeve: SleeveCut,
    cloth: Cloth,
    creases: Array,
    rng: np.random.Generator,
) -> None:
    mask = canvas.polygon(sleeve.outline)
    box = canvas.box(mask)
    creases = creases[box]
    dx, dy = canvas.x[box] - float(sleeve.start[0]), canvas.y[box] - float(sleeve.start[1])
    along = dx * float(sleeve.along[0]) + dy * float(sleeve.along[1])
    across = dx * float(sleeve.across[0]) + dy * float(sleeve.across[1])
    # Folds around the elbow, slanted because the fabric hangs from the outer edge.
    elbow = np.exp(-(((along - 0.5 * sleeve.length) / 0.13) ** 2))
    rings = np.sin(along * 62 + across * 26 + float(rng.uniform(0, 6)) + creases * 1.6) * elbow
    height = rings * (0.0008 + 0.004 * sleeve.length) + creases * 0.007
    middle = across / sleeve.width - 0.42
    facing = math.copysign(0.16, sleeve.start[0]) * middle  # the light comes from the left
    light = 1.0 + facing - 0.62 * middle**2 + relief(height) + _edge(mask)[box]
    canvas.paint(mask, lit(cloth.at(across + height, along + 0.035 * middle**2), light))
    if garment.category == "shirt" and garment.sleeve == "long":
        _cuff(canvas, sleeve, mask, cloth)
    elif garment.category == "shirt" and garment.neckline == "polo collar":
        trims.rib(canvas, sleeve.end, mask, cloth.base, 0.02)
    else:
        trims.stitch(canvas, _denser(sleeve.end - sleeve.along * 0.018))


def _cuff(canvas: Canvas, sleeve: SleeveCut, mask: Array, cloth: Cloth) -> None:
    band = canvas.polygon(sleeve.cuff)
    canvas.paint(band, lit(cloth.at(canvas.y, canvas.x), 1.06 - 0.25 * (1 - blurred(band, 3))))
    canvas.darken(canvas.stroke(0.005, sleeve.cuff[[3, 0]]) * mask, 0.4)
    outer, inner = sleeve.cuff[0], sleeve.cuff[3]
    spot = outer + (inner - outer) * 0.72 + sleeve.along * 0.017
    trims.buttons(canvas, [(float(spot[0]), float(spot[1]))], cloth.base)


def _front(
    canvas: Canvas, garment: Garment, pieces: Cut, cloth: Cloth, creases: Array, rng: np.random.Generator
) -> Array:
    """Paints the body and, on a dress, the skirt; returns the unlit fabric colours for pieces sewn on."""
    mask = canvas.polygon(pieces.body)
    box = canvas.box(mask, margin=12)  # the margin is for the collar, which stands above the body
    x, y = canvas.x[box], canvas.y[box]
    half = np.interp(y, pieces.side_y, pieces.side_x).astype(np.float32)
    t = np.clip(x / half, -1.3, 1.3)
    folds = _skirt_folds if garment.category == "dress" else _body_folds
    height = folds(y, t, creases[box], rng)
    # Stripes curve down in the middle, as on a body, and follow the folds.
    u, v = x + height * 1.2, y - 0.018 * (1 - t**2) + height * 0.7
    if garment.category == "dress":
        waist = float(np.interp(WAIST, pieces.side_y, pieces.side_x))
        # On a flared skirt the pattern widens slightly.
        u = np.where(y > WAIST, t * (0.8 * half + 0.2 * waist), u)
    colours, shaded = np.zeros_like(canvas.rgb), np.zeros_like(canvas.rgb)
    colours[box] = cloth.at(u, v)
    light = 1.03 - 0.09 * t - 0.17 * t**4 - 0.05 * y + relief(height) + _edge(mask)[box]
    shaded[box] = lit(colours[box], light)
    if pieces.sleeves:
        canvas.cast(mask, 0.3, blur=1.5, drop=1)
    canvas.paint(mask, shaded)
    _finish_edges(canvas, garment, pieces, mask, cloth)
    return colours


def _finish_edges(canvas: Canvas, garment: Garment, pieces: Cut, mask: Array, cloth: Cloth) -> None:
    """Neck ribbing, armhole seams, the waist seam and the stitched hem."""
    if garment.category != "shirt" and garment.neckline != "off-shoulder":
        trims.rib(canvas, pieces.neckline, mask, cloth.base, 0.017 if garment.category == "toptee" else 0.012)
    if garment.neckline != "off-shoulder":
        if pieces.sleeves:
            canvas.darken(np.minimum(canvas.stroke(0.006, *pieces.armholes), canvas.alpha), 0.26)
        else:
            for armhole in pieces.armholes:
                trims.rib(canvas, armhole, mask, cloth.base, 0.009)
    if garment.category == "dress":
        waist = float(np.interp(WAIST, pieces.side_y, pieces.side_x))
        t = np.linspace(-1, 1, 21)
        seam = np.c_[t * (waist + 0.004), WAIST + 0.008 * (1 - t**2)]
        canvas.darken(np.minimum(canvas.stroke(0.02, seam), mask), 0.2)
        canvas.darken(np.minimum(canvas.stroke(0.005, seam + np.array([0, 0.011])), mask), 0.25)
    trims.stitch(canvas, _denser(pieces.hem * [0.985, 1] - [0, 0.017]))


def _body_folds(y: Array, t: Array, creases: Array, rng: np.random.Generator) -> Array:
    """Height field of vertical folds on the front and of drag lines from the armpits to the waist."""
    lean = float(rng.uniform(-1, 1))
    drape = np.sin(t * 5.2 + creases * 1.5 + lean * 3 + (y - 0.5) * lean) * (y - 0.12) * 0.006
    reach = np.exp(-(((y - 0.4) / 0.1) ** 2)) * np.clip(np.abs(t) - 0.25, 0, 1)
    drag = np.sin((y * 60 + np.abs(t) * 9) + creases * 1.5 + lean) * reach * 0.0035
    return (drape + drag + creases * 0.008).astype(np.float32)


def _skirt_folds(y: Array, t: Array, creases: Array, rng: np.random.Generator) -> Array:
    """Height field of a dress: folds that open downwards from the waist, and a flat bodice above."""
    fall = np.clip((y - WAIST) / 0.3, 0, 1.5)
    phase = float(rng.uniform(0, 6))
    count = float(rng.uniform(9.5, 12.5))
    wave = np.sin(t * count + phase + creases * 1.1 * fall)
    pleats = (wave + 0.35 * np.sin(2 * (t * count + phase) + 1.2)) * fall * 0.0062
    gathers = np.sin(t * count * 2.3 + phase) * np.exp(-(((y - WAIST - 0.03) / 0.04) ** 2)) * 0.0016
    return (pleats + gathers * (y > WAIST) + creases * 0.005).astype(np.float32)


def _ruffle(canvas: Canvas, outline: Array, cloth: Cloth, rng: np.random.Generator) -> None:
    """The ruffle of an off-shoulder neckline, across chest and arms."""
    mask = canvas.polygon(outline)
    gathers = np.sin(canvas.x * float(rng.uniform(70, 85)) + float(rng.uniform(0, 6))) * 0.0032
    canvas.cast(mask, 0.5, blur=3, drop=3)
    light = 1.06 - 2.2 * canvas.x**2 + relief(gathers.astype(np.float32)) + _edge(mask)
    canvas.paint(mask, lit(cloth.at(canvas.x + gathers, canvas.y + 0.04), light))
    trims.stitch(canvas, outline[:61] + np.array([0, 0.012]))


def _edge(mask: Array) -> Array:
    """Shading of the edges, where the fabric curves away from the light."""
    return (blurred(mask, 4) - 1) * 0.3


def _denser(path: Array) -> Array:
    """Resamples a path to 61 points, the spacing of stitches."""
    at = np.linspace(0, len(path) - 1, 61)
    steps = np.arange(len(path))
    return np.c_[np.interp(at, steps, path[:, 0]), np.interp(at, steps, path[:, 1])]
