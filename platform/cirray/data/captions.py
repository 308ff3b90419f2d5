"""The caption rules: from the annotated captions of a triplet to the texts that are encoded.

Source: section "FashionIQ captions" of CLIP4Cir (public code of Baldrati et al., CVPRW 2022), generalised
from two captions to any number. A single caption (CIRR) is used unchanged.
"""

from __future__ import annotations

import string

# The paper's code strips ".?, ". Tabs, line ends and no-break spaces are stripped as well.
_TRIMMED = ".?," + string.whitespace + "\u00a0"


def clean(caption: str) -> str:
    """Strips full stops, question marks, commas and whitespace from both ends of a caption."""
    return caption.strip(_TRIMMED)


def is_empty(caption: str) -> bool:
    """Whether `clean` leaves nothing of the caption, such as "" and ".\""""
    return not clean(caption)


def without_empty(captions: tuple[str, ...]) -> tuple[str, ...]:
    """Drops the empty captions of a triplet.

    In FashionIQ, 16 triplets of train and val have one caption that is empty (15) or just "." (1); the other one is
    kept. If exactly one of several captions remains, it is cleaned and capitalised here, as `training_captions` does
    for several captions but not for one.

    Returns:
        The captions that are not empty; () if all are.
    """
    kept = tuple(caption for caption in captions if not is_empty(caption))
    if len(kept) == 1 and len(captions) > 1:
        return (clean(kept[0]).capitalize(),)
    return kept


def training_captions(captions: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the equally likely training texts of a triplet.

    One caption: itself, stripped of whitespace. Two, "a" and "b": ("A and b", "B and a", "A", "B"). More: all in
    order, all in reverse order, and each alone. With several, each caption is cleaned, and the first caption of a
    text is capitalised (`str.capitalize`, which lower-cases the remainder, as in the paper's code).

    Raises:
        ValueError: there is no caption.
    """
    if not captions:
        raise ValueError("a triplet has at least one caption")
    if len(captions) == 1:
        return (captions[0].strip(),)
    cleaned = [clean(caption) for caption in captions]
    return (_joined(cleaned), _joined(cleaned[::-1]), *(caption.capitalize() for caption in cleaned))


def query_caption(captions: tuple[str, ...]) -> str:
    """Returns the text of a triplet in validation and test: all captions in order, "A and b".

    Raises:
        ValueError: there is no caption.
    """
    return training_captions(captions)[0]


def _joined(cleaned: list[str]) -> str:
    return " and ".join([cleaned[0].capitalize(), *cleaned[1:]])
