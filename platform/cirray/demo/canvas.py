"""The raster canvas: antialiased masks, alpha compositing, shadows and the studio background.

Shapes: masks are float32 [SIZE, SIZE] from 0 to 1, colours float32 [SIZE, SIZE, 3] from 0 to 255.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Array = np.ndarray

SIZE = 192  # pixels per side; square, so that a centre crop keeps the whole picture
_SUPERSAMPLING = 3  # of masks; colour and shading vary slowly enough to need none
PIXEL = 1 / SIZE


class Canvas:
    """A picture under construction, and the garment coordinates of its pixels.

    Garment coordinates: x from -0.5 to 0.5 with the centre line at 0, y from 0 (top) to 1. The pose (a slight shift,
    rotation and scale) maps them to pixels.

    Attributes:
        x, y: garment coordinates of each pixel, float32 [SIZE, SIZE].
        rgb: colours painted so far, undefined where `alpha` is 0.
        alpha: coverage so far, float32 [SIZE, SIZE].
    """

    def __init__(self, shift: tuple[float, float], turn: float, scale: float) -> None:
        self._shift, self._scale = shift, scale
        self._cos, self._sin = math.cos(turn), math.sin(turn)
        steps = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE - 0.5
        right, down = np.meshgrid(steps - np.float32(shift[0]), steps - np.float32(shift[1]))
        self.x: Array = (right * self._cos + down * self._sin) / scale
        self.y: Array = (down * self._cos - right * self._sin) / scale + 0.5
        self.rgb: Array = np.zeros((SIZE, SIZE, 3), np.float32)
        self.alpha: Array = np.zeros((SIZE, SIZE), np.float32)

    def _pixels(self, points: Array) -> list[tuple[float, float]]:
        x, y = points[:, 0] * self._scale, (points[:, 1] - 0.5) * self._scale
        right = x * self._cos - y * self._sin + self._shift[0] + 0.5
        down = x * self._sin + y * self._cos + self._shift[1] + 0.5
        large = SIZE * _SUPERSAMPLING
        return list(zip((right * large).tolist(), (down * large).tolist(), strict=True))

    @staticmethod
    def _blank() -> Image.Image:
        return Image.new("L", (SIZE * _SUPERSAMPLING, SIZE * _SUPERSAMPLING))

    def polygon(self, *outlines: Array) -> Array:
        """The mask of the union of closed outlines, each [P, 2]."""
        large = self._blank()
        pen = ImageDraw.Draw(large)
        for outline in outlines:
            pen.polygon(self._pixels(outline), fill=255)
        return _shrink(large)

    def stroke(self, width: float, *paths: Array, dashes: bool = False) -> Array:
        """The mask of lines along `paths`, each [P, 2]; with `dashes`, of every other segment."""
        large = self._blank()
        pen = ImageDraw.Draw(large)
        thick = max(1, round(width * self._scale * SIZE * _SUPERSAMPLING))
        for path in paths:
            points = self._pixels(path)
            pieces = [points[i : i + 2] for i in range(0, len(points) - 1, 2)] if dashes else [points]
            for piece in pieces:
                pen.line(piece, fill=255, width=thick, joint="curve")
        return _shrink(large)

    def discs(self, radius: float, centres: Iterable[tuple[float, float]]) -> Array:
        """The mask of filled circles."""
        large = self._blank()
        pen = ImageDraw.Draw(large)
        reach = radius * self._scale * SIZE * _SUPERSAMPLING
        for x, y in self._pixels(np.array(list(centres), np.float32).reshape(-1, 2)):
            pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=255)
        return _shrink(large)

    def paint(self, mask: Array, colour: Array | tuple[int, int, int]) -> None:
        """Composite one colour, or colours in the shape of the canvas or of `box(mask)`, over the canvas."""
        colours = np.asarray(colour, np.float32)
        box = self.box(mask)
        if colours.ndim == 3 and colours.shape[:2] == mask.shape:
            colours = colours[box]
        cover, below = mask[box], self.alpha[box]
        total = cover + below * (1 - cover)
        share = (cover / np.maximum(total, 1e-6))[..., None]
        rgb = self.rgb[box]
        rgb += (colours - rgb) * share
        self.alpha[box] = total

    def darken(self, mask: Array, amount: float) -> None:
        """Darken the canvas by `amount` x mask; the coverage is unchanged."""
        box = self.box(mask)
        self.rgb[box] *= (1 - np.float32(amount) * mask[box])[..., None]

    @staticmethod
    def box(mask: Array, margin: int = 0) -> tuple[slice, slice]:
        """The bounding box of a mask plus a margin in pixels; working inside it is much faster."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            return slice(0, 0), slice(0, 0)
        top, left = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
        return slice(top, rows[-1] + 1 + margin), slice(left, columns[-1] + 1 + margin)

    def cast(self, mask: Array, amount: float, blur: float = 2.5, drop: int = 2) -> None:
        """Darken the canvas by the soft shadow of a piece that will be painted next; `blur` and `drop` in pixels."""
        self.darken(_moved(blurred(mask, blur), drop, 0) * self.alpha, amount)

    def photograph(self, rng: np.random.Generator) -> Image.Image:
        """The finished RGB picture: the garment with its shadow on a near-white studio background."""
        warmth = rng.uniform(-1.5, 1.5)
        steps = np.linspace(-1, 1, SIZE, dtype=np.float32)
        vignette = steps[None, :] ** 2 * 4 + np.maximum(steps[:, None], 0) ** 2 * 7 + steps[:, None] ** 2 * 2
        backdrop = np.stack([243 + warmth - vignette, 242 - vignette, 242 - warmth - vignette], axis=-1)
        far, near = blurred(self.alpha, 9), blurred(self.alpha, 2.5)
        shadow = _moved(far, 7, 5) * 0.26 + _moved(near, 2, 2) * 0.16
        backdrop *= (1 - shadow)[..., None]
        picture = backdrop + (self.rgb - backdrop) * self.alpha[..., None]
        return Image.fromarray(np.clip(picture + 0.5, 0, 255).astype(np.uint8), "RGB")


def _shrink(large: Image.Image) -> Array:
    return np.asarray(large.reduce(_SUPERSAMPLING), np.float32) * np.float32(1 / 255)


def _moved(mask: Array, down: int, right: int) -> Array:
    """The mask shifted by whole pixels, without wrapping around."""
    moved = np.zeros_like(mask)
    moved[down:, right:] = mask[: SIZE - down, : SIZE - right]
    return moved


def blurred(mask: Array, radius: float) -> Array:
    """A soft-edged copy of a mask; `radius` in pixels."""
    image = Image.fromarray(np.clip(mask * 255, 0, 255).astype(np.uint8), "L")
    box = ImageFilter.BoxBlur(radius / 2)
    soft = (
        image.reduce(2).filter(box).filter(box)
    )  # at half resolution: four times faster, without a visible difference
    return np.asarray(soft.resize(image.size, Image.Resampling.BILINEAR), np.float32) / 255


def smooth_noise(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Smooth noise, about -1 to 1, interpolated from a grid of rows x columns; float32 [SIZE, SIZE]."""
    coarse = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse, "F").resize((SIZE, SIZE), Image.Resampling.BICUBIC))
