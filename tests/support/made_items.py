"""Items of a catalog in memory, for tests of made triplets."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from cirray.data.catalog import Entry


def item(number: int, title: str = "", folder: Path = Path("/pictures"), group: str = "", **attributes: Any) -> Entry:
    """Returns an item with the id i{number} and the picture {number}.png."""
    return Entry(f"i{number}", (folder / f"{number}.png",), title, attributes, f"line {number}", group)


def garments(count: int, folder: Path = Path("/pictures"), seed: int = 0) -> list[Entry]:
    """Returns items with a colour, a sleeve and a logo or none."""
    chance = random.Random(seed)
    colours, sleeves = ["red", "blue", "green", "white"], ["short", "long", "wide"]
    return [
        item(n, "", folder, colour=chance.choice(colours), sleeve=chance.choice(sleeves), logo=chance.random() < 0.5)
        for n in range(count)
    ]


def all_differ(one: Entry, other: Entry) -> bool:
    """Says that no two pictures are nearly identical."""
    return False
