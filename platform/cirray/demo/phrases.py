"""Generates titles, which name all attributes, and relative captions, which name the changed ones."""

from __future__ import annotations

import numpy as np

from cirray.demo.attributes import SLEEVES, Attribute, Garment, differences, values

# Phrases for the values of attributes. Phrases of different values of a category are distinct, so that captions are
# unambiguous.
_SLEEVE_WORDS: dict[str, tuple[str, ...]] = {
    "sleeveless": ("no sleeves",),
    "short": ("short sleeves",),
    "three-quarter": ("three-quarter sleeves", "three quarter sleeves"),
    "long": ("long sleeves",),
}
_NECK_WORDS: dict[str, tuple[str, ...]] = {
    "crew": ("a crew neck", "a round crew neck", "a high crew neckline"),
    "v-neck": ("a v-neck", "a v neck", "a v-neckline"),
    "scoop": ("a scoop neck", "a deep scoop neck", "a wide scoop neckline"),
    "off-shoulder": ("off the shoulder", "an off-shoulder neckline"),
    "classic collar": ("a classic collar", "a classic pointed collar"),
    "band collar": ("a band collar", "a stand-up band collar"),
    "open collar": ("an open collar", "an open camp collar"),
    "polo collar": ("a polo collar", "a soft polo collar"),
}
_PATTERN_WORDS: dict[str, tuple[str, ...]] = {
    "striped": ("stripes", "a striped pattern", "horizontal stripes"),
    "dotted": ("polka dots", "a dotted pattern", "large dots"),
    "checked": ("checks", "a checked pattern", "a plaid pattern"),
    "floral": ("flowers", "a floral print", "a flower print"),
}
_PATTERN_ADJECTIVES: dict[str, tuple[str, ...]] = {
    "plain": ("plain", "solid"),
    "striped": ("striped",),
    "dotted": ("polka dot", "dotted"),
    "checked": ("checked", "plaid"),
    "floral": ("floral", "flowered"),
}
_LENGTH_ADJECTIVES: dict[str, tuple[str, ...]] = {
    "mini": ("mini", "short mini"),
    "knee": ("knee-length", "knee length"),
    "maxi": ("maxi", "long maxi"),
    "cropped": ("cropped", "short cropped"),
    "regular": ("regular-length", "regular length"),
    "long": ("extra long", "long"),
}
_SLEEVE_ADJECTIVES: dict[str, tuple[str, ...]] = {
    "sleeveless": ("sleeveless",),
    "short": ("short-sleeved", "short sleeve"),
    "three-quarter": ("three-quarter sleeve", "three quarter sleeved"),
    "long": ("long-sleeved", "long sleeve"),
}
_NOUNS: dict[str, str] = {"dress": "dress", "shirt": "shirt", "toptee": "top"}


def _pick(options: tuple[str, ...] | list[str], rng: np.random.Generator) -> str:
    return options[rng.integers(len(options))]


def title(garment: Garment, rng: np.random.Generator) -> str:
    """A product title that names every attribute: "red striped maxi dress with long sleeves and a v-neck"."""
    colour, noun = garment.colour, _NOUNS[garment.category]
    pattern = _pick(_PATTERN_ADJECTIVES[garment.pattern], rng)
    length = _pick(_LENGTH_ADJECTIVES[garment.length], rng)
    sleeved = _pick(_SLEEVE_ADJECTIVES[garment.sleeve], rng)
    sleeves = _pick(_SLEEVE_WORDS[garment.sleeve], rng)
    neck = _pick(_NECK_WORDS[garment.neckline], rng)
    neck = "an off the shoulder neckline" if neck == "off the shoulder" else neck
    text = _pick(
        (
            f"{colour} {pattern} {length} {noun} with {sleeves} and {neck}",
            f"{sleeved} {colour} {length} {noun} with {neck}, {pattern}",
            f"{length} {noun} in {pattern} {colour}, {sleeved}, with {neck}",
            f"{pattern} {colour} {noun} with {neck} and {sleeves}, {length}",
            f"{sleeved} {noun} with {neck}, {length}, in {colour}, {pattern}",
        ),
        rng,
    )
    if garment.logo:
        text += _pick((", with a logo", ", logo print", ", with a logo on the chest"), rng)
    return text


def relative_captions(reference: Garment, target: Garment, rng: np.random.Generator) -> tuple[str, str]:
    """Two relative captions in the style of FashionIQ's annotators.

    Together they mention every change; each may omit some.

    Args:
        reference: the reference garment.
        target: the target garment; of the same category, and not equal to `reference`.
        rng: source of the wording.

    Raises:
        ValueError: the garments are equal or of different categories.
    """
    changed = list(differences(reference, target))
    if not changed or reference.category != target.category:
        raise ValueError("a caption needs two different garments of one category")
    first, second = _shares(changed, rng)
    one = _caption(reference, target, first, rng)
    for _ in range(8):
        two = _caption(reference, target, second, rng)
        if two != one:
            break
    else:
        two = f"{one} and nothing else changes"
    return one, two


def full_captions(reference: Garment, target: Garment, rng: np.random.Generator, count: int) -> list[str]:
    """`count` different relative captions that each mention every change, in the wording of `relative_captions`.

    Raises:
        ValueError: the garments are equal or of different categories, or there are not so many wordings.
    """
    changed = differences(reference, target)
    if not changed or reference.category != target.category:
        raise ValueError("a caption needs two different garments of one category")
    found: dict[str, None] = {}
    for _ in range(100 * count):
        order = [changed[i] for i in rng.permutation(len(changed))]
        found[_caption(reference, target, order, rng)] = None
        if len(found) == count:
            return list(found)
    raise ValueError(f"a change of {', '.join(changed)} has only {len(found)} of {count} wordings")


def _shares(changed: list[Attribute], rng: np.random.Generator) -> tuple[list[Attribute], list[Attribute]]:
    """The changes that each caption mentions: usually all; sometimes one omits some, or the two split them."""
    order = [changed[i] for i in rng.permutation(len(changed))]
    again = [changed[i] for i in rng.permutation(len(changed))]
    if len(changed) == 1:
        return order, again
    cut, draw = int(rng.integers(1, len(changed))), rng.random()
    if draw < 0.5:
        return order, again
    if draw < 0.65:
        return order, again[:cut]
    if draw < 0.8:
        return order[:cut], again
    return order[:cut], order[cut:]


def _caption(reference: Garment, target: Garment, attributes: list[Attribute], rng: np.random.Generator) -> str:
    """One caption: fragments "is ..." or "has ...", joined without repeating the verb."""
    fragments = [_fragment(reference, target, attribute, rng) for attribute in attributes]
    text, verb = "", ""
    for i, (next_verb, words) in enumerate(fragments):
        joint = "" if i == 0 else " and " if i == len(fragments) - 1 else ", "
        text += joint + (words if next_verb == verb else f"{next_verb} {words}")
        verb = next_verb
    return _restyle(text, rng)


def _restyle(text: str, rng: np.random.Generator) -> str:
    """Varies the style as annotators do: drops the verb, or adds "same but" or "instead"."""
    draw = rng.random()
    bare = text.removeprefix("is ").removeprefix("has ")
    if draw < 0.12:
        return f"same but {'with ' if text.startswith('has ') else ''}{bare}"
    if draw < 0.2:
        return f"the same style but {text}"
    if draw < 0.28:
        return f"{text} instead" if " instead" not in text and " than " not in text else text
    if draw < 0.42:
        return f"with {bare}" if text.startswith("has ") else bare
    if draw < 0.5:
        return f"it {text}"
    return text


def _fragment(reference: Garment, target: Garment, attribute: Attribute, rng: np.random.Generator) -> tuple[str, str]:
    """One change as (verb, words)."""
    return {
        "colour": _colour,
        "sleeve": _sleeve,
        "neckline": _neckline,
        "length": _length,
        "pattern": _pattern,
        "logo": _logo,
    }[attribute](reference, target, rng)


def _colour(reference: Garment, target: Garment, rng: np.random.Generator) -> tuple[str, str]:
    new, old = target.colour, reference.colour
    if rng.random() < 0.2:
        return "has", _pick((f"a {new} color" if new != "orange" else "an orange color", f"{new} fabric"), rng)
    return "is", _pick((new, new, f"{new} in color", f"{new} instead of {old}", f"{new} rather than {old}"), rng)


def _sleeve(reference: Garment, target: Garment, rng: np.random.Generator) -> tuple[str, str]:
    new, old = target.sleeve, reference.sleeve
    if new == "sleeveless":
        return ("is", "sleeveless") if rng.random() < 0.6 else ("has", _pick(("no sleeves", "sleeves removed"), rng))
    words = _pick(_SLEEVE_WORDS[new], rng)
    longer = SLEEVES.index(new) > SLEEVES.index(old)
    if old == "three-quarter" and new == "long" and rng.random() < 0.3:
        return "has", "longer sleeves"  # unambiguous: only long sleeves are longer
    if rng.random() < 0.2 and old != "sleeveless":
        return "has", f"{'longer' if longer else 'shorter'} {words}"
    if rng.random() < 0.25:
        return "is", _pick(_SLEEVE_ADJECTIVES[new], rng)
    return "has", words


def _neckline(reference: Garment, target: Garment, rng: np.random.Generator) -> tuple[str, str]:
    if target.neckline == "off-shoulder":
        return ("is", "off the shoulder") if rng.random() < 0.6 else ("has", "an off-shoulder neckline")
    words = _pick(_NECK_WORDS[target.neckline], rng)
    if rng.random() < 0.2:
        return "has", f"{words} instead of {_NECK_WORDS[reference.neckline][0]}"
    return "has", words


def _length(reference: Garment, target: Garment, rng: np.random.Generator) -> tuple[str, str]:
    order = values(target.category, "length")
    new, old = order.index(target.length), order.index(reference.length)
    relative = "longer" if new > old else "shorter"
    # "longer" alone only from the middle length, where it is unambiguous.
    if old == 1 and rng.random() < 0.4:
        return "is", _pick((relative, f"{relative} in length", f"a bit {relative}"), rng)
    words = _pick(_LENGTH_ADJECTIVES[target.length], rng)
    return "is", _pick((words, words, f"{relative}, {_LENGTH_ADJECTIVES[target.length][0]}"), rng)


def _pattern(reference: Garment, target: Garment, rng: np.random.Generator) -> tuple[str, str]:
    new, old = target.pattern, reference.pattern
    if new == "plain":
        gone = _pick(_PATTERN_WORDS[old], rng)
        return "is", _pick(("plain", "a solid color", "plain without a pattern", f"plain, without {gone}"), rng)
    if rng.random() < 0.3:
        return "is", _pick(_PATTERN_ADJECTIVES[new], rng)
    return "has", _pick(_PATTERN_WORDS[new], rng)


def _logo(reference: Garment, target: Garment, rng: np.random.Generator) -> tuple[str, str]:
    if target.logo:
        return "has", _pick(("a logo", "a logo on the chest", "a logo print", "a graphic logo on the front"), rng)
    return "has", _pick(("no logo", "no logo on it", "the logo removed"), rng)
