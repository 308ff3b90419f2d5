"""The proportions of each category: key points, seams, hem and sleeve lengths."""

from __future__ import annotations

from dataclasses import dataclass

from cirray.demo.attributes import Category, Length, Sleeve

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Body:
    """The proportions of a category, right half, in garment coordinates.

    Attributes:
        neck: the point between neck and shoulder.
        tip: the point between shoulder and sleeve.
        side: the side seam from the armpit down, beyond the longest hem.
        hems: y of the hem for each length.
        arm: length of a long sleeve.
        cuff: width of a long sleeve at the wrist.
        zoom: scale of the picture; the longest hem must fit.
        approach: additional zoom for short hems: 0 none, 1 until the garment fills the height.
    """

    neck: Point
    tip: Point
    side: tuple[Point, ...]
    hems: dict[Length, float]
    arm: float
    cuff: float
    zoom: float
    approach: float


BODIES: dict[Category, Body] = {
    "dress": Body(
        neck=(0.068, 0.06),
        tip=(0.142, 0.088),
        side=(
            (0.126, 0.205),
            (0.112, 0.275),
            (0.093, 0.345),
            (0.132, 0.44),
            (0.176, 0.6),
            (0.212, 0.78),
            (0.245, 1.0),
        ),
        hems={"mini": 0.585, "knee": 0.765, "maxi": 0.955},
        arm=0.42,
        cuff=0.05,
        zoom=1.0,
        approach=0.35,
    ),
    "shirt": Body(
        neck=(0.074, 0.095),
        tip=(0.208, 0.148),
        side=((0.192, 0.315), (0.185, 0.46), (0.184, 0.6), (0.19, 0.75), (0.196, 1.0)),
        hems={"cropped": 0.5, "regular": 0.68, "long": 0.86},
        arm=0.55,
        cuff=0.078,
        zoom=1.12,
        approach=0.1,
    ),
    "toptee": Body(
        neck=(0.082, 0.1),
        tip=(0.186, 0.142),
        side=(
            (0.17, 0.3),
            (0.153, 0.38),
            (0.146, 0.47),
            (0.158, 0.56),
            (0.168, 0.68),
            (0.18, 0.83),
            (0.19, 1.0),
        ),
        hems={"cropped": 0.46, "regular": 0.64, "long": 0.82},
        arm=0.53,
        cuff=0.06,
        zoom=1.14,
        approach=0.1,
    ),
}

ARM_SHARE: dict[Sleeve, float] = {
    "sleeveless": 0.0,
    "short": 0.34,
    "three-quarter": 0.66,
    "long": 1.0,
}  # of the length of a long sleeve
ARM_ANGLE: dict[Sleeve, float] = {"sleeveless": 0.0, "short": 30.0, "three-quarter": 21.0, "long": 15.5}  # degrees
WAIST = 0.345  # y of a dress's waist seam
