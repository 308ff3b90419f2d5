"""The index interface: a backend keeps generations of one catalog, of which one is published.

Life of a generation: `create` -> `upload`, `remove` -> `finish` (complete) -> `publish`. Searchers open only complete
ones. `publish` and `roll_back` are atomic: a searcher sees the old generation or the new one.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict, field_validator

from cirray.config.indexing import IndexShape
from cirray.data.attributes import Attribute
from cirray.data.filters import Filter
from cirray.errors import SearchIndexError
from cirray.index.items import Hit, Item, Page

FORMAT: Literal[1] = 1


class Generation(BaseModel):
    """The manifest of one generation.

    Attributes:
        name: sorts by time of creation.
        image_fingerprint: the image side that made its vectors; queries of another are refused.
        dim: d, the width of the vectors.
        settings: what shaped it.
        count: items, once complete.
        attributes: what is known of the items' attributes.
        indexed: attributes with a payload index.
        details: provenance, once complete.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = FORMAT
    name: str
    image_fingerprint: str
    dim: int
    settings: IndexShape
    count: int = 0
    attributes: list[Attribute] = []
    indexed: list[str] = []
    details: dict[str, Any] = {}

    @field_validator("settings", mode="before")
    @classmethod
    def _take_the_shape(cls, value: Any) -> Any:
        """Drops what an older version wrote beside it: paths, timeouts and other settings of the job."""
        if not isinstance(value, Mapping):
            return value
        return {name: value[name] for name in IndexShape.model_fields if name in value}


class Reader(Protocol):
    """Searches one complete generation. Thread-safe."""

    generation: Generation

    def search(
        self,
        vectors: np.ndarray,
        limit: int,
        offset: int = 0,
        filter: Filter | None = None,
        without: str | None = None,
    ) -> list[list[Hit]]:
        """Returns the best hits of each query feature [N, d] by cosine, best first; never the item `without`."""
        ...

    def items(self, ids: Sequence[str]) -> dict[str, Item]:
        """Returns those of the items that exist, by id."""
        ...

    def features(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns the raw image features [d] of those items that exist, by id: no image tower runs."""
        ...

    def digests(self) -> dict[str, str]:
        """Returns id -> digest of every item."""
        ...

    def browse(self, limit: int, cursor: str | None = None, filter: Filter | None = None) -> Page:
        """Returns items page by page in an order that stays the same."""
        ...

    def count(self, filter: Filter | None = None) -> int:
        """Returns how many items fit."""
        ...

    def close(self) -> None:
        """Frees what the reader holds."""
        ...


class Writer(Protocol):
    """Fills one generation that nobody reads yet."""

    generation: Generation

    def state(self) -> dict[str, str]:
        """Returns id -> digest of what the generation holds already, be it copied or left by a killed run."""
        ...

    def upload(self, items: Sequence[Item], features: np.ndarray) -> None:
        """Adds or replaces items with their raw image features [N, d]."""
        ...

    def remove(self, ids: Sequence[str]) -> None:
        """Removes items."""
        ...

    def finish(self, details: Mapping[str, Any]) -> Generation:
        """Builds the graph, makes everything durable, and marks the generation as complete."""
        ...

    def close(self) -> None:
        """Lets go of the generation, finished or not; another job may go on with it."""
        ...


class IndexBackend(Protocol):
    """Where the generations of a catalog live.

    Attributes:
        where: what errors and people call it.
        searches: so many threads may usefully search at a time.
    """

    where: str
    searches: int

    def create(self, plan: Generation) -> Writer:
        """Begins the generation `plan`. It starts from what is cheapest: a copy of the published one, or what a
        killed run left, where `same_build` says that they fit; else from nothing. `Writer.state` says what it holds.

        Raises:
            SearchIndexError: another job is writing here.
        """
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Keeps other writers out for as long as it lasts; `create` within it is the holder's own.

        Raises:
            SearchIndexError: another job is writing here.
        """
        ...

    def generations(self) -> list[Generation]:
        """Returns the complete generations, oldest first."""
        ...

    def read(self, name: str) -> Generation:
        """Returns the manifest of a complete generation.

        Raises:
            SearchIndexError: there is no such complete generation.
        """
        ...

    def published(self) -> str | None:
        """Returns the name of the published generation. Cheap: searchers ask every second."""
        ...

    def publish(self, name: str) -> None:
        """Makes a complete generation the one that is searched."""
        ...

    def roll_back(self) -> str:
        """Publishes the complete generation before the published one and returns its name."""
        ...

    def discard(self, name: str) -> None:
        """Deletes a complete generation that is not published."""
        ...

    def collect(self, keep: int) -> list[str]:
        """Deletes all but the published generation and the newest others, `keep` in all; returns what it deleted."""
        ...

    def open(self, name: str) -> Reader:
        """Opens a complete generation for searching."""
        ...


@runtime_checkable
class WritableBackend(IndexBackend, Protocol):
    """A backend whose published generation can be changed item by item."""

    def put(self, name: str, items: Sequence[Item], features: np.ndarray) -> None:
        """Adds or replaces items of the generation `name`.

        Raises:
            IndexUnavailableError: it is not the published one any more; searchers take over the next one soon.
        """
        ...

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Removes items from the generation `name`; raises as `put`."""
        ...


def same_build(one: Generation, other: Generation) -> bool:
    """Whether items can be taken over from one generation into the other as they are."""
    return _build(one) == _build(other)


def _build(generation: Generation) -> tuple[Any, ...]:
    settings = generation.settings
    kinds = {attribute.name: attribute.kind for attribute in generation.attributes}
    indexed = [(name, kinds[name]) for name in generation.indexed]
    return generation.image_fingerprint, generation.dim, settings.hnsw, settings.quantization, sorted(indexed)


def new_name() -> str:
    """Returns a generation name that sorts by time."""
    return f"{name_at(datetime.now(UTC))}-{secrets.token_hex(3)}"


def name_at(time: datetime) -> str:
    """Returns what the names of later generations are greater than."""
    return f"{time:%Y%m%dt%H%M%S%f}"


def previous(generations: Sequence[Generation], published: str | None, where: str) -> str:
    """Returns the complete generation before the published one.

    Raises:
        SearchIndexError: there is none.
    """
    names = [generation.name for generation in generations]
    older = names[: names.index(published)] if published in names else []
    if not older:
        raise SearchIndexError(f"{where}: there is no complete generation before {published} to roll back to")
    return older[-1]


def expired(generations: Sequence[Generation], published: str | None, keep: int) -> list[str]:
    """Returns the generations that `collect` deletes, oldest first."""
    others = [generation.name for generation in generations if generation.name != published]
    kept = keep - (published is not None)
    return others[: max(0, len(others) - kept)]


def check_fingerprint(generation: Generation, image_fingerprint: str, bundle: str, where: str) -> None:
    """Refuses a bundle whose image side did not make the index.

    Raises:
        SearchIndexError: what differs and what to do.
    """
    if generation.image_fingerprint != image_fingerprint:
        raise SearchIndexError(
            f"bundle {bundle} does not fit the index at {where}: its image side is {image_fingerprint[:12]}, and "
            f"generation {generation.name} was made with {generation.image_fingerprint[:12]}. Index the catalog "
            f"with this bundle (python jobs/index.py --bundle {bundle} ...), or serve a bundle with the same image "
            f"tower and preprocessing"
        )
