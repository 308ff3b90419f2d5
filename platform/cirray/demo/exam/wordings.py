"""The captions of the exam: in the words of the training captions, and in other words (wordings.yaml)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import yaml

from cirray.demo.attributes import ATTRIBUTES, Attribute, Garment, differences
from cirray.demo.phrases import full_captions

# Name of the style that has the wording of the training captions.
TRAINING = "training"
_TRAINING_CAPTIONS = 3


@cache
def read_wordings() -> Mapping[str, Any]:
    """Returns the content of wordings.yaml."""
    content: dict[str, Any] = yaml.safe_load(resources.files(__package__).joinpath("wordings.yaml").read_text("utf-8"))
    return content


def captions(reference: Garment, target: Garment, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Returns six (style, caption): three as in training, and one of each style of wordings.yaml.

    Each names every attribute of `differences(reference, target)`.
    """
    changed = differences(reference, target)
    known = full_captions(reference, target, rng, _TRAINING_CAPTIONS)
    styles: Mapping[str, Any] = read_wordings()["styles"]
    return [
        *((TRAINING, text) for text in known),
        *((name, _caption(style, target, changed)) for name, style in styles.items()),
    ]


def two_reference_captions(attribute: Attribute) -> list[tuple[str, str]]:
    """Returns six pairs of captions: of the reference that gives all but the attribute, and of the other reference."""
    words = read_wordings()["two_references"]
    part = words["parts"][attribute]
    return [(first.format(part=part), second.format(part=part)) for first, second in words["captions"]]


def corrections(target: Garment) -> dict[str, str]:
    """Returns attribute -> the caption that asks for the target's value, for every attribute."""
    words = read_wordings()["rounds"]
    style = read_wordings()["styles"][words["style"]]
    return {
        "category": words["category"][target.category],
        **{name: phrase(style, name, target) for name in ATTRIBUTES},
    }


def phrase(style: Mapping[str, Any], attribute: Attribute, garment: Garment) -> str:
    """Returns a style's phrase for a garment's value of an attribute."""
    value = getattr(garment, attribute)
    by_value: Mapping[str, str] = style["phrases"][attribute]
    key = str(value).lower()
    return by_value[key if key in by_value else "any"].format(value=value)


def _caption(style: Mapping[str, Any], target: Garment, attributes: Sequence[Attribute]) -> str:
    changes = str(style["joined"]).join(phrase(style, name, target) for name in attributes)
    return str(style["frame"]).format(changes=changes)
