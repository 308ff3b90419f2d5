"""The caption rules: from the annotated captions of a triplet to the texts that are encoded.

Source: section "FashionIQ captions" of CLIP4Cir (public code of Baldrati et al., CVPRW 2022), generalised
from two captions to any number. A dataset with one caption a triplet (CIRR) uses it as it is.
"""

from __future__ import annotations

import string

# The paper's code strips ".?, "; tabs, line ends and no-break spaces around a caption mean as little.
_TRIMMED = ".?," + string.whitespace + "\u00a0"


def clean(caption: str) -> str:
    """Returns the caption without the full stops, question marks, commas and whitespace around it."""
    return caption.strip(_TRIMMED)


def is_empty(caption: str) -> bool:
    """Returns whether nothing of the caption is left after `clean`, such as "" and ".\""""
    return not clean(caption)


def without_empty(captions: tuple[str, ...]) -> tuple[str, ...]:
    """Drops the empty captions of a triplet that was annotated with several.

    FashionIQ has 16 triplets in train and val with one caption that is empty (15) or just "." (1); the other
    caption is kept alone. Where a single one is left of several it is stored cleaned and capitalised, which
    is what it would be in the variants of its complete neighbours: a triplet with a single caption is used as
    it is.

    Returns:
        the captions that are not empty; () if all are.
    """
    kept = tuple(caption for caption in captions if not is_empty(caption))
    if len(kept) == 1 and len(captions) > 1:
        return (clean(kept[0]).capitalize(),)
    return kept


def training_captions(captions: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the equally likely training texts of a triplet.

    One caption: itself, only without whitespace around it. Two, "a" and "b": ("A and b", "B and a", "A",
    "B").
    More: all in order, all in reverse, each alone. Each caption is cleaned; the first of a text is
    capitalised (`str.capitalize`, which lower-cases its rest, as in the paper's code).

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
    """Returns the text of a triplet in validation and test: always all captions in order, "A and b"."""
    return training_captions(captions)[0]


def _joined(cleaned: list[str]) -> str:
    return " and ".join([cleaned[0].capitalize(), *cleaned[1:]])
