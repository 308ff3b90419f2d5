"""A pair of items and their differences."""

from __future__ import annotations

from dataclasses import dataclass

from cirray.data.catalog import Entry
from cirray.data.catalog.entry import Value

TITLE = "title"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between a reference and its target.

    Attributes:
        attribute: name of the attribute; TITLE for words of the title.
        old: the reference's value; for titles its words that differ, "" = none.
        new: the target's value; for titles its words that differ, "" = none.
    """

    attribute: str
    old: Value
    new: Value

    @property
    def in_title(self) -> bool:
        """Whether words of the title differ, not an attribute."""
        return self.attribute == TITLE


@dataclass(frozen=True, slots=True)
class Pair:
    """A reference and a target with all changes that the caption names, at least one."""

    reference: Entry
    target: Entry
    changes: tuple[Change, ...]
