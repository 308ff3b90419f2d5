"""Fabrics: palette, printed patterns and lighting."""

from __future__ import annotations

import math

import numpy as np

from cirray.demo.attributes import Colour, Pattern
from cirray.demo.canvas import PIXEL, Array

Rgb = tuple[int, int, int]

PALETTE: dict[Colour, Rgb] = {
    "red": (198, 34, 44),
    "orange": (240, 122, 32),
    "yellow": (247, 205, 60),
    "green": (42, 128, 76),
    "blue": (38, 84, 178),
    "purple": (112, 58, 156),
    "pink": (243, 148, 182),
    "brown": (112, 72, 46),
    "black": (42, 42, 47),
    "white": (248, 247, 244),
}

# The second colour of stripes, dots and checks. It must be visible at 64 pixels and leave the main colour unambiguous:
# dark on light fabric, light on dark fabric.
ACCENTS: dict[Colour, Rgb] = {
    "red": (252, 244, 238),
    "orange": (255, 248, 236),
    "yellow": (72, 66, 62),
    "green": (238, 246, 232),
    "blue": (242, 246, 252),
    "purple": (246, 240, 252),
    "pink": (255, 250, 250),
    "brown": (240, 222, 192),
    "black": (244, 243, 240),
    "white": (44, 52, 84),
}

_LEAF: Rgb = (74, 148, 86)
_DARK_LEAF: Rgb = (24, 78, 48)
_PETALS: dict[Colour, tuple[Rgb, Rgb]] = {
    "red": ((255, 246, 240), (250, 186, 120)),
    "orange": ((255, 248, 236), (206, 48, 62)),
    "yellow": ((255, 255, 250), (222, 78, 66)),
    "green": ((255, 248, 240), (246, 164, 186)),
    "blue": ((250, 250, 255), (250, 176, 196)),
    "purple": ((250, 244, 255), (244, 172, 204)),
    "pink": ((255, 252, 250), (196, 44, 96)),
    "brown": ((248, 232, 206), (232, 146, 92)),
    "black": ((248, 244, 240), (226, 88, 112)),
    "white": ((222, 72, 102), (240, 150, 100)),
}
_TABLE = 16  # period of the flowers, in cells


def dyed(colour: Colour, rng: np.random.Generator) -> Rgb:
    """The exact colour of one item: slightly lighter, darker, warmer or cooler than the palette's."""
    tone = rng.uniform(0.95, 1.04)
    warmth = rng.uniform(-5, 5)
    r, g, b = PALETTE[colour]
    return (_byte(r * tone + warmth), _byte(g * tone), _byte(b * tone - warmth))


def shade_of(rgb: Rgb, factor: float) -> Rgb:
    """A darker (factor below 1) or lighter shade of a colour."""
    r, g, b = rgb
    return (_byte(r * factor), _byte(g * factor), _byte(b * factor))


def _byte(value: float) -> int:
    return int(min(255, max(0, value)))


class Cloth:
    """The dyed and printed fabric of one garment.

    Attributes:
        base: the main colour.
        accent: the second colour of the print.
    """

    def __init__(self, colour: Colour, pattern: Pattern, rng: np.random.Generator) -> None:
        self.base = dyed(colour, rng)
        self.accent = ACCENTS[colour]
        self._colour = colour
        self._pattern = pattern
        self._scale = float(rng.uniform(0.95, 1.08))
        self._origin = rng.uniform(0, 1, 2)
        self._flowers = rng.uniform(-1, 1, (4, _TABLE, _TABLE)).astype(np.float32)

    def at(self, u: Array, v: Array) -> Array:
        """The colours, float32 [H, W, 3], at u (across) and v (down) [H, W], in garment coordinates."""
        u = u / self._scale + float(self._origin[0])
        v = v / self._scale + float(self._origin[1])
        ground = np.empty((*u.shape, 3), np.float32)
        ground[:] = self.base
        if self._pattern == "striped":
            return _mix(ground, self.accent, _bands(v, 0.082, 0.42))
        if self._pattern == "dotted":
            return _mix(ground, self.accent, _dots(u, v))
        if self._pattern == "checked":
            return self._tartan(ground, u, v)
        if self._pattern == "floral":
            return self._bouquet(ground, u, v)
        return ground

    def _tartan(self, ground: Array, u: Array, v: Array) -> Array:
        across, down = _bands(u, 0.118, 0.4), _bands(v, 0.118, 0.4)
        ground = _mix(ground, self.accent, (across + down) * 0.42)
        lines = np.maximum(_bands(u + 0.0485, 0.118, 0.07), _bands(v + 0.0485, 0.118, 0.07))
        return _mix(ground, self.accent, lines * 0.55)

    def _bouquet(self, ground: Array, u: Array, v: Array) -> Array:
        cell = 0.112
        row = np.floor(v / cell)
        shifted = u / cell + 0.5 * (row % 2)
        column = np.floor(shifted)
        i, j = row.astype(np.intp) % _TABLE, column.astype(np.intp) % _TABLE
        dx, dy, spin, kind = (table[i, j] for table in self._flowers)
        x = (shifted - column - 0.5 - 0.1 * dx) * cell
        y = (v / cell - row - 0.5 - 0.1 * dy) * cell
        radius, angle = np.hypot(x, y), np.arctan2(y, x) + spin * math.pi
        # Leaves are drawn as a two-petalled flower under the five-petalled one.
        leaf = _inside(radius, 0.054 * np.abs(np.cos(angle)) ** 1.5)
        petal = _inside(radius, 0.041 * (0.62 + 0.38 * np.abs(np.cos(2.5 * angle))))
        first, second = _PETALS[self._colour]
        green = _LEAF if self._colour in ("white", "black", "brown", "purple") else _DARK_LEAF
        ground = _mix(ground, green, leaf)
        ground = _mix(ground, first, petal * (kind > -0.3))
        ground = _mix(ground, second, petal * (kind <= -0.3))
        return _mix(ground, (250, 200, 70), _inside(radius, np.float32(0.012)))


def _mix(ground: Array, colour: Rgb, amount: Array) -> Array:
    return ground + (np.asarray(colour, np.float32) - ground) * amount[..., None]


def _inside(distance: Array, radius: Array | np.float32) -> Array:
    """1 within the radius, 0 outside, with an antialiased edge of one pixel."""
    return np.clip((radius - distance) / PIXEL + 0.5, 0, 1)


def _bands(position: Array, period: float, share: float) -> Array:
    """1 on the bands, 0 between them, with antialiased edges of one pixel."""
    offset = np.abs((position / period) % 1 - 0.5) * period
    return _inside(offset, np.float32(share * period / 2))


def _dots(u: Array, v: Array) -> Array:
    period = 0.088
    row = np.floor(v / period)
    x = (u / period + 0.5 * (row % 2)) % 1 - 0.5
    y = v / period - row - 0.5
    return _inside(np.hypot(x, y) * period, np.float32(0.0255))


def lit(colours: Array, light: Array) -> Array:
    """Applies light [H, W] to colours [H, W, 3]: below 1 darkens, above 1 adds white.

    Adding white instead of multiplying makes folds visible on black fabric.
    """
    sheen = np.maximum(light - 1, 0) * 0.55
    shade = np.minimum(light, 1) - sheen
    return colours * shade[..., None] + (255 * sheen)[..., None]


def relief(height: Array) -> Array:
    """Change of light [H, W] by a height field [H, W] in garment coordinates, lit from the upper left."""
    down, right = np.gradient(height)
    return (right * 0.85 + down * 0.53) / PIXEL
