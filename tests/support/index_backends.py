"""A small index of random features, and one backend of each kind, for tests of the backends.

Set QDRANT_URL (and QDRANT_API_KEY) to include a Qdrant server; its collections are deleted at the end.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from cirray.config.indexing import IndexAccess, IndexShape
from cirray.data.attributes import Attribute
from cirray.data.filters import Filter
from cirray.index.backend import Generation, Reader, new_name
from cirray.index.edge import EdgeBackend
from cirray.index.items import Item
from cirray.index.remote import RemoteEdgeBackend
from cirray.index.server import SEPARATOR, ServerBackend, connect_backend
from cirray.storage.location import Location
from tests.support.object_store import new_bucket

DIM = 8
PRINT = "ab" * 32
KINDS = ["edge", "remote", "memory", "server"]
KNOWN = [
    Attribute(name="category", kind="keyword"),
    Attribute(name="colour", kind="keyword"),
    Attribute(name="price", kind="number"),
    Attribute(name="sale", kind="bool"),
    Attribute(name="mixed-up", kind="keyword"),
]
# The client's local mode has neither payload indexes nor a graph; a test server may have a key without TLS.
QDRANT_WARNINGS = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact .brute-force. search:UserWarning"),
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection:UserWarning"),
]

AnyBackend = EdgeBackend | ServerBackend


def item(number: int, **attributes: Any) -> Item:
    return Item(f"item{number}", f"pictures/{number}.jpg", f"{number:064x}", f"Item {number}", attributes)


def items(count: int) -> list[Item]:
    return [item(number) for number in range(count)]


def rows(count: int, seed: int = 0) -> np.ndarray:
    """Returns raw features, float32 [count, DIM], not of unit length."""
    return (3.0 * np.random.default_rng(seed).normal(size=(count, DIM))).astype(np.float32)


def plan(image_fingerprint: str = PRINT, **changes: Any) -> Generation:
    content = {"name": new_name(), "image_fingerprint": image_fingerprint, "dim": DIM, "settings": IndexShape()}
    return Generation(**{**content, **changes})


def fill(backend: AnyBackend, of: Sequence[Item], features: np.ndarray, **changes: Any) -> Generation:
    """Builds a complete generation with exactly these items."""
    writer = backend.create(plan(**changes))
    try:
        writer.remove(list(writer.state()))
        writer.upload(of, features)
        return writer.finish({"made": "here"})
    finally:
        writer.close()


def names(backend: AnyBackend) -> list[str]:
    return [generation.name for generation in backend.generations()]


def found(reader: Reader, query: np.ndarray, limit: int = 10, **more: Any) -> list[str]:
    (hits,) = reader.search(query, limit, **more)
    return [hit.item.id for hit in hits]


def browsed(reader: Reader, limit: int, filter: Filter | None = None) -> list[Item]:
    seen: list[Item] = []
    cursor = None
    while True:
        page = reader.browse(limit, cursor, filter)
        assert len(page.items) <= limit
        seen += page.items
        cursor = page.cursor
        if cursor is None:
            return seen


@contextmanager
def memory_backend() -> Iterator[tuple[ServerBackend, QdrantClient]]:
    """Yields a server backend in the client's local mode, and its client."""
    client = QdrantClient(":memory:")
    yield ServerBackend(client, client, "test", "memory"), client
    client.close()


@contextmanager
def real_server() -> Iterator[tuple[ServerBackend, QdrantClient]]:
    """Yields a backend on the server at QDRANT_URL, and another client of that server."""
    url = os.environ.get("QDRANT_URL")
    if not url:
        pytest.skip("no Qdrant server: set QDRANT_URL to its address")
    key = os.environ.get("QDRANT_API_KEY")
    backend = connect_backend(url, key, IndexAccess(collection=f"test.{secrets.token_hex(6)}"))
    client = QdrantClient(url=url, api_key=key)
    yield backend, client
    for entry in client.get_collections().collections:
        if entry.name.startswith(backend.collection + SEPARATOR):
            client.delete_collection(entry.name)
    client.close()


@contextmanager
def backend_of(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[AnyBackend]:
    """Yields an empty backend of one of `KINDS`."""
    if kind == "edge":
        yield EdgeBackend(folder / "index")
    elif kind == "remote":
        with new_bucket(request.getfixturevalue("s3_server"), folder) as bucket:
            yield RemoteEdgeBackend(Location.parse(f"{bucket}/index"))
    else:
        with memory_backend() if kind == "memory" else real_server() as (backend, _):
            yield backend
