"""The exam's gallery: the val items of the demo catalog, and items that are drawn for the exam."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from cirray.demo.attributes import ATTRIBUTES, Garment
from cirray.demo.pictures import random_stream


class Gallery:
    """The gallery, sorted by id.

    Attributes:
        catalog: id -> garment, of the catalog's val items.
        drawn: id -> garment, of the items to draw.
        garments: id -> garment, of both.
    """

    def __init__(self, catalog: Mapping[str, Garment], drawn: Mapping[str, Garment]) -> None:
        self.catalog = catalog
        self.drawn = drawn
        self.garments = dict(sorted({**catalog, **drawn}.items()))

    def of(self, garment: Garment) -> list[str]:
        """Returns the ids of all items of a garment."""
        return [name for name, other in self.garments.items() if other == garment]


def read_items(catalog: Path) -> dict[str, dict[str, Garment]]:
    """Returns split -> id -> garment of a demo catalog."""
    found: dict[str, dict[str, Garment]] = defaultdict(dict)
    for line in (catalog / "catalog.jsonl").read_text().splitlines():
        record = json.loads(line)
        found[record["split"]][record["id"]] = Garment(**{key: record[key] for key in ("category", *ATTRIBUTES)})
    return found


def complete(items: Mapping[str, Garment], needed: Mapping[Garment, int], seed: int) -> Gallery:
    """Adds items to draw until each garment is there as often as needed.

    Their ids are shuffled, so that neither ids nor the order of equal scores reveals what an item was drawn for.
    """
    present = Counter(items.values())
    missing = [garment for garment, count in needed.items() for _ in range(count - present[garment])]
    numbers = random_stream(seed, "exam ids").permutation(len(missing))
    names = [f"{garment.category[0].upper()}X{number:05d}" for garment, number in zip(missing, numbers, strict=True)]
    return Gallery(items, dict(zip(names, missing, strict=True)))
