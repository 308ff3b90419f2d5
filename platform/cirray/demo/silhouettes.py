"""Outlines of a garment: body, neckline, hem and sleeves, as points [P, 2] in garment coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cirray.demo.attributes import Garment, Sleeve
from cirray.demo.canvas import Array
from cirray.demo.proportions import ARM_ANGLE, ARM_SHARE, BODIES, Body, Point


@dataclass(frozen=True, slots=True)
class SleeveCut:
    """One sleeve.

    Attributes:
        outline: the closed outline, extending under the body.
        armhole: the seam between sleeve and body.
        cuff: the band at its end, a closed outline.
        end: the line of its opening, from the outer to the inner edge.
        start: the tip of the shoulder, where its axis begins.
        along: unit vector down the arm.
        across: unit vector from the outer to the inner edge.
        length: from the tip to the opening.
        width: at the armpit.
    """

    outline: Array
    armhole: Array
    cuff: Array
    end: Array
    start: Array
    along: Array
    across: Array
    length: float
    width: float


@dataclass(frozen=True, slots=True)
class Cut:
    """All outlines of one garment.

    Attributes:
        body: the closed outline of the front.
        side_y: y of points down the side seam; rising.
        side_x: half the width at `side_y`.
        neckline: the front neckline, from one shoulder to the other.
        back: the closed outline of the inside of the back, seen through the neckline.
        back_edge: its upper edge.
        hem: the lower edge, from right to left.
        armholes: the edges of the two armholes.
        sleeves: the two sleeves, or none.
        ruffle: the fold of an off-shoulder neckline, a closed outline; None elsewhere.
    """

    body: Array
    side_y: Array
    side_x: Array
    neckline: Array
    back: Array
    back_edge: Array
    hem: Array
    armholes: tuple[Array, Array]
    sleeves: tuple[SleeveCut, ...]
    ruffle: Array | None


def curve(points: tuple[Point, ...] | Array, steps: int = 8) -> Array:
    """A Catmull-Rom spline through the points [P, 2], with `steps` points per segment."""
    p = np.asarray(points, np.float64)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True):
        square, cube = 2 * a - 5 * b + 4 * c - d, 3 * (b - c) + d - a
        pieces.append(0.5 * (2 * b + (c - a) * t + square * t**2 + cube * t**3))
    return np.vstack([*pieces, p[-2][None]])


def mirrored(points: Array) -> Array:
    """The line [P, 2] mirrored at the centre line, in reverse order."""
    return (points * np.array([-1.0, 1.0]))[::-1]


def cut(garment: Garment, rng: np.random.Generator) -> Cut:
    """The outlines of a garment, with random variation of its sleeves and hem."""
    body = BODIES[garment.category]
    side = curve(body.side)
    hem_y = body.hems[garment.length]
    tip = _tip(garment, body)
    neckline, back_edge = _neckline(garment, body)
    shoulder = _shoulder(garment, body, tip)
    hem = _hem(garment, float(np.interp(hem_y, side[:, 1], side[:, 0])), hem_y, rng)
    seam = side[side[:, 1] < hem[0, 1] - 0.004]
    right = np.vstack([shoulder, seam])
    sleeves = _sleeves(garment, body, tip, shoulder, rng)
    return Cut(
        body=np.vstack([neckline, right, hem, mirrored(right)]),
        side_y=side[:, 1],
        side_x=side[:, 0],
        neckline=neckline,
        back=np.vstack([neckline, back_edge[::-1]]),
        back_edge=back_edge,
        hem=hem,
        armholes=(shoulder, mirrored(shoulder)),
        sleeves=sleeves,
        ruffle=_ruffle(garment, body, tip, rng) if garment.neckline == "off-shoulder" else None,
    )


def _tip(garment: Garment, body: Body) -> Point:
    """The shoulder tip: further in without sleeves, lower on the arm for an off-shoulder neckline."""
    (neck_x, neck_y), (x, y) = body.neck, body.tip
    if garment.neckline == "off-shoulder":
        return (x * 0.99, y + 0.075)
    if garment.sleeve == "sleeveless":
        share = 0.7
        return (neck_x + (x - neck_x) * share, neck_y + (y - neck_y) * share)
    return body.tip


def _shoulder(garment: Garment, body: Body, tip: Point) -> Array:
    """From the shoulder tip along the armhole to the armpit."""
    pit_x, pit_y = body.side[0]
    if garment.neckline == "off-shoulder":
        return curve(((pit_x * 1.02, tip[1]), (pit_x, pit_y)), 4)
    bend = 0.012 if garment.sleeve == "sleeveless" else 0.02
    inner = (min(tip[0], pit_x) - bend, tip[1] + (pit_y - tip[1]) * 0.55)
    return curve((tip, inner, (pit_x, pit_y)))


def _neckline(garment: Garment, body: Body) -> tuple[Array, Array]:
    """The front neckline and the edge of the back behind it, both from left to right."""
    neck_x, neck_y = body.neck
    slope = (body.tip[1] - neck_y) / (body.tip[0] - neck_x)
    angle = np.linspace(-np.pi / 2, np.pi / 2, 25)
    across, round_ = np.sin(angle), np.cos(angle)
    unit = body.tip[0] / 0.186  # dresses are smaller, so that a maxi fits
    name = garment.neckline
    if name == "off-shoulder":
        y, x = body.tip[1] + 0.075, body.side[0][0] * 1.02
        return np.c_[x * across, y + 0.016 * round_], np.c_[x * across, y - 0.014 * round_]
    if name == "scoop":
        x = neck_x * 1.32
        y = neck_y + (x - neck_x) * slope
        front = np.c_[x * np.sign(across) * np.abs(across) ** 0.8, y + 0.135 * unit * round_**0.85]
    elif name in ("v-neck", "open collar"):
        x, y = neck_x * 1.02, neck_y
        depth = 0.185 * unit if name == "v-neck" else 0.17
        t = np.linspace(-1, 1, 25)
        front = np.c_[x * np.sign(t) * np.abs(t) ** 0.92, y + depth * (1 - np.abs(t))]
        across, round_ = t, np.sqrt(np.maximum(0, 1 - t**2))
    else:
        x, y = neck_x, neck_y
        front = np.c_[x * across, y + 0.055 * unit * round_]
    return front, np.c_[x * across, y + 0.014 * round_]


def _hem(garment: Garment, half: float, y: float, rng: np.random.Generator) -> Array:
    """The hem from right to left: a wavy skirt, a shirt tail or the shallow arc of a top."""
    t = np.linspace(1, -1, 41)
    if garment.category == "dress":
        sway = rng.uniform(0, 2 * np.pi)
        return np.c_[t * half, y + 0.02 * (1 - t**2) + 0.005 * np.sin(9.5 * t + sway)]
    if garment.category == "shirt" and garment.neckline != "polo collar":
        return np.c_[t * half, y + 0.012 - 0.042 * np.abs(t) ** 3.5]
    return np.c_[t * half, y + 0.013 * (1 - t**2)]


def _sleeves(
    garment: Garment, body: Body, tip: Point, shoulder: Array, rng: np.random.Generator
) -> tuple[SleeveCut, ...]:
    if garment.sleeve == "sleeveless":
        return ()
    right = _sleeve(garment.sleeve, body, tip, shoulder, math.radians(rng.uniform(-2, 2)))
    left = _sleeve(garment.sleeve, body, tip, shoulder, math.radians(rng.uniform(-2, 2)))
    flip = np.array([-1.0, 1.0])
    mirror = SleeveCut(
        outline=left.outline * flip,
        armhole=left.armhole * flip,
        cuff=left.cuff * flip,
        end=left.end * flip,
        start=left.start * flip,
        along=left.along * flip,
        across=left.across * flip,
        length=left.length,
        width=left.width,
    )
    return (right, mirror)


def _sleeve(sleeve: Sleeve, body: Body, tip: Point, shoulder: Array, tilt: float) -> SleeveCut:
    share = ARM_SHARE[sleeve]
    angle = math.radians(ARM_ANGLE[sleeve]) + tilt
    along = np.array([math.sin(angle), math.cos(angle)])
    across = np.array([-math.cos(angle), math.sin(angle)])
    start, pit = np.array(tip), np.array(body.side[0])
    # With an off-shoulder neckline the sleeve starts lower and ends at the same point, but must be visible below the
    # ruffle.
    length = max(body.arm * share - max(tip[1] - body.tip[1], 0), 0.3 * body.arm)
    width = float((pit - start) @ across) * 0.3 + (body.tip[0] - body.neck[0]) * 0.72
    end_width = width * 0.98 + (body.cuff - width) * share**0.8
    outer = start + along * length + across * 0.004
    inner = outer + across * end_width
    top = curve(np.array([start, start + along * length * 0.4 - across * 0.008, outer]))
    under = curve(np.array([inner, pit + along * 0.02 * share + (inner - pit) * 0.3, pit + np.array([-0.004, 0.006])]))
    hidden = np.array([pit - [0.035, 0.02], start - [0.035, -0.02]])
    band = 0.034
    return SleeveCut(
        outline=np.vstack([top, under, hidden]),
        armhole=shoulder,
        cuff=np.array(
            [
                outer - along * band - across * 0.004,
                outer - across * 0.004,
                inner + across * 0.003,
                inner - along * band + across * 0.003,
            ]
        ),
        end=np.array([outer, (outer + inner) / 2 + along * 0.005, inner]),
        start=start,
        along=along,
        across=across,
        length=length,
        width=width,
    )


def _ruffle(garment: Garment, body: Body, tip: Point, rng: np.random.Generator) -> Array:
    """The ruffle across chest and arms, with a wavy lower edge."""
    reach = body.tip[0] + 0.03 if garment.sleeve != "sleeveless" else body.side[0][0] + 0.012
    t = np.linspace(-1, 1, 61)
    top = np.c_[t * reach, tip[1] - 0.006 + 0.016 * (1 - t**2) + 0.01 * np.abs(t) ** 6]
    wave = 0.006 * np.sin(19 * t + rng.uniform(0, 6))
    bottom = np.c_[t * (reach + 0.012), tip[1] + 0.07 + 0.014 * (1 - t**2) - 0.016 * t**6 + wave]
    return np.vstack([top, bottom[::-1]])
