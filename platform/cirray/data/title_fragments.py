"""Fragments of titles, for stage 0: "medium skin tone" of "woman astronaut: medium skin tone".

A title as a whole says which picture it belongs to. A fragment says what several pictures have in common, so that a
small model learns what words mean instead of learning titles by heart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LONGEST = 4  # words
_PARTS = re.compile(r"[,:;.!?()\[\]|/]+")


@dataclass(frozen=True, slots=True)
class Title:
    """A title as words.

    Attributes:
        parts: its words in lower case, divided at punctuation; at least one part.
        words: the set of all its words.
    """

    parts: tuple[tuple[str, ...], ...]
    words: frozenset[str]

    @classmethod
    def of(cls, title: str) -> Title:
        """Divides a title; one without any word is a part of its own."""
        parts = tuple(tuple(part.split()) for part in _PARTS.split(title.lower()) if part.split()) or ((title,),)
        return cls(parts, frozenset(word for part in parts for word in part))

    def fragment(self, draw: float) -> tuple[str, ...]:
        """Returns adjacent words of one part, at most LONGEST, from a random number in [0, 1).

        All parts are equally likely, and so are all fragments of a part.
        """
        scaled = draw * len(self.parts)
        part = self.parts[int(scaled)]
        starts = [(start, length) for length in range(1, LONGEST + 1) for start in range(len(part) - length + 1)]
        start, length = starts[int((scaled - int(scaled)) * len(starts))]
        return part[start : start + length]


def matches(titles: Sequence[Title], fragments: Sequence[tuple[str, ...]]) -> Tensor:
    """Returns whether each title has all words of each fragment, bool [titles, fragments]."""
    found = [[title.words.issuperset(fragment) for fragment in fragments] for title in titles]
    return torch.tensor(found, dtype=torch.bool).reshape(len(titles), len(fragments))
