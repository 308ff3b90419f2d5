"""Some made triplets as text, for people to judge."""

from __future__ import annotations

import random

from cirray.data.catalog import Entry
from cirray.data.made_triplets.splits import MadeTriplets

EXAMPLES = 20
_LONGEST_TITLE = 60


def examples_of(made: MadeTriplets, seed: int) -> list[str]:
    """Returns up to EXAMPLES random train triplets, each as `reference -> target: caption / caption`."""
    triplets = list(zip(made.splits["train"], made.captions["train"], strict=True))
    shown = random.Random(seed).sample(triplets, min(EXAMPLES, len(triplets)))
    return [f"{_item(pair.reference)} -> {_item(pair.target)}: {' / '.join(captions)}" for pair, captions in shown]


def _item(entry: Entry) -> str:
    title = entry.title if len(entry.title) <= _LONGEST_TITLE else f"{entry.title[: _LONGEST_TITLE - 3]}..."
    return f"{entry.id} ({title})" if title else entry.id
