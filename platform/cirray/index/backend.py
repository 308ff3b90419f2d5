"""The index interface: a backend stores generations of one catalog, of which one is published.

Life cycle of a generation: `create` -> `upload`, `remove` -> `finish` (complete) -> `publish`. Readers open complete
generations only. `publish` and `roll_back` are atomic: readers see either the old or the new generation.
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
        image_fingerprint: fingerprint of the image tower that made its vectors; bundles with another one are refused.
        dim: d, the width of the vectors.
        settings: what shaped it.
        count: number of items; set by `finish`.
        grouped: whether some items have several pictures, or belong to a product with other items.
        attributes: summaries of the items' attributes.
        indexed: names of the attributes with a payload index.
        details: provenance; set by `finish`.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = FORMAT
    name: str
    image_fingerprint: str
    dim: int
    settings: IndexShape
    count: int = 0
    grouped: bool = False
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
        without: Sequence[str] = (),
    ) -> list[list[Hit]]:
        """Returns the hits of each query feature [N, d] with the highest cosine similarity, best first.

        Each product has at most one hit: its item and picture with the highest similarity. Equal scores are in an order
        that does not change, so that consecutive pages neither repeat nor skip a product.

        Args:
            vectors: query features [N, d], or one [d].
            limit: hits per query.
            offset: number of best hits to skip.
            filter: only items that match.
            without: ids of items whose products are left out, such as the reference image.

        Raises:
            SearchIndexError: the features are of another width, zero or not finite.
        """
        ...

    def items(self, ids: Sequence[str]) -> dict[str, Item]:
        """Returns the items that exist among `ids`, by id."""
        ...

    def features(self, ids: Sequence[str], number: int = 0) -> dict[str, np.ndarray]:
        """Returns the stored raw features [d] of picture `number` of the items among `ids` that have it, by id."""
        ...

    def digests(self) -> dict[str, str]:
        """Returns id -> digest of all items; see `Item.digest`."""
        ...

    def browse(self, limit: int, cursor: str | None = None, filter: Filter | None = None) -> Page:
        """Returns one page of items, in a stable order.

        Raises:
            SearchIndexError: `cursor` is not from a page.
        """
        ...

    def count(self, filter: Filter | None = None) -> int:
        """Returns the number of items that match."""
        ...

    def close(self) -> None:
        """Releases the reader's resources."""
        ...


class Writer(Protocol):
    """Fills one unfinished generation, which no reader can open."""

    generation: Generation

    def state(self) -> dict[str, str]:
        """Returns id -> digest of the items already present: copied, or uploaded by an interrupted run."""
        ...

    def upload(self, items: Sequence[Item], features: np.ndarray) -> None:
        """Adds or replaces items with the raw image features [P, d] of all their pictures, in order.

        Raises:
            SearchIndexError: a feature is of another width, zero or not finite.
        """
        ...

    def remove(self, ids: Sequence[str]) -> None:
        """Removes items."""
        ...

    def finish(self, details: Mapping[str, Any]) -> Generation:
        """Builds the graph, flushes to disk, and marks the generation as complete."""
        ...

    def close(self) -> None:
        """Releases the generation, finished or not, so that another job may continue it."""
        ...


class IndexBackend(Protocol):
    """Storage of the generations of one catalog.

    Attributes:
        where: display name, for logs and error messages.
        search_threads: useful number of concurrent searches.
    """

    where: str
    search_threads: int

    def create(self, plan: Generation) -> Writer:
        """Starts writing the generation `plan`.

        If compatible (`same_build`), it starts from a copy of the published generation or from the unfinished
        generation of an interrupted run, else empty. `Writer.state` returns the items it starts with.

        Raises:
            SearchIndexError: another job is writing to this index.
        """
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Holds the writer lock of the index; `create` inside the block does not take it again.

        Raises:
            SearchIndexError: another job is writing to this index.
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
        """Returns the name of the published generation, None if there is none. Cheap: the service polls it."""
        ...

    def publish(self, name: str) -> None:
        """Makes a complete generation the published one.

        Raises:
            SearchIndexError: there is no such complete generation.
        """
        ...

    def roll_back(self) -> str:
        """Publishes the previous complete generation and returns its name.

        Raises:
            SearchIndexError: there is none.
        """
        ...

    def discard(self, name: str) -> None:
        """Deletes a complete generation that is not published."""
        ...

    def collect(self, keep: int) -> list[str]:
        """Deletes old generations; keeps `keep`, the published one and the newest others. Returns the deleted names."""
        ...

    def open(self, name: str) -> Reader:
        """Opens a complete generation for searching.

        Raises:
            SearchIndexError: there is no such complete generation.
        """
        ...


@runtime_checkable
class WritableBackend(IndexBackend, Protocol):
    """A backend whose published generation accepts changes of single items."""

    def put(self, name: str, items: Sequence[Item], features: np.ndarray) -> None:
        """Adds or replaces items of the generation `name`; see `Writer.upload`.

        Raises:
            IndexUnavailableError: `name` is no longer published; retry once the service has switched generations.
        """
        ...

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Removes items from the generation `name`.

        Raises:
            IndexUnavailableError: as `put`.
        """
        ...


def same_build(one: Generation, other: Generation) -> bool:
    """Whether stored items of one generation are valid in the other: same image tower, index settings and schema."""
    return _build(one) == _build(other)


def _build(generation: Generation) -> tuple[Any, ...]:
    settings = generation.settings
    kinds = {attribute.name: attribute.kind for attribute in generation.attributes}
    indexed = [(name, kinds[name]) for name in generation.indexed]
    shape = (settings.hnsw, settings.quantization, generation.grouped)
    return generation.image_fingerprint, generation.dim, shape, sorted(indexed)


def new_name() -> str:
    """Returns a unique generation name; names sort by creation time."""
    return f"{time_prefix(datetime.now(UTC))}-{secrets.token_hex(3)}"


def time_prefix(time: datetime) -> str:
    """Returns the timestamp that names begin with; names created later compare greater."""
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
    """Returns the names of the generations that `collect` deletes, oldest first."""
    others = [generation.name for generation in generations if generation.name != published]
    kept = keep - (published is not None)
    return others[: max(0, len(others) - kept)]


def check_fingerprint(generation: Generation, image_fingerprint: str, bundle: str, where: str) -> None:
    """Checks that a bundle's image tower is the one that the index was built with.

    Raises:
        SearchIndexError: the fingerprints differ.
    """
    if generation.image_fingerprint != image_fingerprint:
        raise SearchIndexError(
            f"bundle {bundle} does not fit the index at {where}: its image tower is {image_fingerprint[:12]}, but "
            f"generation {generation.name} was built with {generation.image_fingerprint[:12]}. Index the catalog "
            f"with this bundle (python jobs/index.py --bundle {bundle} ...), or serve a bundle with the same image "
            f"tower and preprocessing"
        )
