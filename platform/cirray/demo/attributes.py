"""Garments: their attributes and vocabularies, and sampling of distinct garments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

Category = Literal["dress", "shirt", "toptee"]
Colour = Literal["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white"]
Sleeve = Literal["sleeveless", "short", "three-quarter", "long"]
Neckline = Literal[
    "crew", "v-neck", "scoop", "off-shoulder", "classic collar", "band collar", "open collar", "polo collar"
]
Length = Literal["mini", "knee", "maxi", "cropped", "regular", "long"]
Pattern = Literal["plain", "striped", "dotted", "checked", "floral"]

CATEGORIES: tuple[Category, ...] = get_args(Category)
COLOURS: tuple[Colour, ...] = get_args(Colour)
SLEEVES: tuple[Sleeve, ...] = get_args(Sleeve)  # from the shortest to the longest
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)

_SOFT_NECKS: tuple[Neckline, ...] = ("crew", "v-neck", "scoop", "off-shoulder")
_SHIRT_COLLARS: tuple[Neckline, ...] = ("classic collar", "band collar", "open collar", "polo collar")
NECKLINES: dict[Category, tuple[Neckline, ...]] = {
    "dress": _SOFT_NECKS,
    "shirt": _SHIRT_COLLARS,
    "toptee": _SOFT_NECKS,
}
LENGTHS: dict[Category, tuple[Length, ...]] = {  # from the shortest to the longest
    "dress": ("mini", "knee", "maxi"),
    "shirt": ("cropped", "regular", "long"),
    "toptee": ("cropped", "regular", "long"),
}

Attribute = Literal["colour", "sleeve", "neckline", "length", "pattern", "logo"]
ATTRIBUTES: tuple[Attribute, ...] = get_args(Attribute)

# Share of plain shirts and tops with a logo: less than half, as in shops.
_LOGO_SHARE = 1 / 3


@dataclass(frozen=True, slots=True)
class Garment:
    """One garment. Equal garments may differ only in their rendering.

    Attributes:
        category: FashionIQ category.
        colour: main colour.
        sleeve: sleeve length.
        neckline: shape of the neckline or collar, one of the category's `NECKLINES`.
        length: length of the garment, one of the category's `LENGTHS`.
        pattern: print of the fabric.
        logo: whether there is a logo on the chest; only on plain shirts and tops.
    """

    category: Category
    colour: Colour
    sleeve: Sleeve
    neckline: Neckline
    length: Length
    pattern: Pattern
    logo: bool = False

    def __post_init__(self) -> None:
        if self.neckline not in NECKLINES[self.category] or self.length not in LENGTHS[self.category]:
            raise ValueError(f"a {self.category} has no {self.neckline} neckline or no {self.length} length")
        if self.neckline == "off-shoulder" and self.sleeve == "sleeveless":
            raise ValueError("an off-shoulder garment needs sleeves: without them it is strapless")
        if self.logo and not can_have_logo(self.category, self.neckline, self.pattern):
            raise ValueError(f"a {self.pattern} {self.neckline} {self.category} has no logo")


def can_have_logo(category: Category, neckline: Neckline, pattern: Pattern) -> bool:
    """Whether such a garment may have a logo: plain shirts and tops without a ruffle on the chest."""
    return category != "dress" and neckline != "off-shoulder" and pattern == "plain"


def values(category: Category, attribute: Attribute) -> tuple[str, ...]:
    """The values of an attribute (except the logo) in a category, in natural order if there is one."""
    by_attribute: dict[str, tuple[str, ...]] = {
        "colour": COLOURS,
        "sleeve": SLEEVES,
        "neckline": NECKLINES[category],
        "length": LENGTHS[category],
        "pattern": PATTERNS,
    }
    return by_attribute[attribute]


def differences(reference: Garment, target: Garment) -> tuple[Attribute, ...]:
    """The attributes that a relative caption from `reference` to `target` must mention.

    A logo that disappears because the target cannot have one is implied by the other changes and not included.
    """
    changed: list[Attribute] = [a for a in ATTRIBUTES if getattr(reference, a) != getattr(target, a)]
    if "logo" in changed and not can_have_logo(target.category, target.neckline, target.pattern):
        changed.remove("logo")
    return tuple(changed)


def sample_garment(category: Category, rng: np.random.Generator) -> Garment:
    """A random garment; 40 % are plain, as in a shop."""
    pattern: Pattern = "plain" if rng.random() < 0.4 else PATTERNS[1 + rng.integers(len(PATTERNS) - 1)]
    neckline = NECKLINES[category][rng.integers(len(NECKLINES[category]))]
    sleeves = SLEEVES[1:] if neckline == "off-shoulder" else SLEEVES
    return Garment(
        category=category,
        colour=COLOURS[rng.integers(len(COLOURS))],
        sleeve=sleeves[rng.integers(len(sleeves))],
        neckline=neckline,
        length=LENGTHS[category][rng.integers(len(LENGTHS[category]))],
        pattern=pattern,
        logo=can_have_logo(category, neckline, pattern) and rng.random() < _LOGO_SHARE,
    )


def variants(garment: Garment, attribute: Attribute) -> tuple[Garment, ...]:
    """All garments that differ from `garment` in that attribute only (and in the logo if they cannot have it)."""
    options = (True, False) if attribute == "logo" else values(garment.category, attribute)
    found = []
    for option in options:
        changes: dict[str, object] = {attribute: option}
        neckline, pattern = changes.get("neckline", garment.neckline), changes.get("pattern", garment.pattern)
        if not can_have_logo(garment.category, neckline, pattern):  # type: ignore[arg-type]
            changes["logo"] = False
        try:
            found.append(replace(garment, **changes))  # type: ignore[arg-type]
        except ValueError:  # an invalid combination, such as a sleeveless off-shoulder top
            continue
    return tuple(variant for variant in found if variant != garment)


def sample_family(category: Category, rng: np.random.Generator, size: int) -> list[Garment]:
    """A product line: a garment and variants of it, which differ in a few attributes."""
    family = [sample_garment(category, rng)]
    while len(family) < size:
        # The attribute first, then its value: otherwise most variants would be new colours.
        attribute = ATTRIBUTES[rng.integers(len(ATTRIBUTES))]
        choices = variants(family[rng.integers(len(family))], attribute)
        if choices:
            family.append(choices[rng.integers(len(choices))])
    return family


def sample_distinct(
    category: Category, count: int, rng: np.random.Generator, exclude: frozenset[Garment] = frozenset()
) -> list[Garment]:
    """`count` distinct garments, none of them in `exclude`, from product lines of three to six, shuffled.

    Args:
        category: FashionIQ category.
        count: number of garments; a category has about 2,000.
        rng: random generator.
        exclude: garments that must not occur, such as those of the other split.

    Raises:
        ValueError: there are not enough distinct garments.
    """
    rounds = 0
    found: dict[Garment, None] = {}  # a dict: the order of a set is not deterministic
    while len(found) < count:
        rounds += 1
        if rounds > 100 + count:
            raise ValueError(f"found only {len(found)} of {count} distinct garments of category {category}")
        family = sample_family(category, rng, size=int(rng.integers(3, 7)))
        found.update((garment, None) for garment in family if garment not in exclude)
    garments = list(found)[:count]
    return [garments[i] for i in rng.permutation(count)]
