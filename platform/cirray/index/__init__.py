"""The catalog index: generations of image features in Qdrant, published atomically."""

from __future__ import annotations

import os

from cirray.config.indexing import IndexAccess
from cirray.errors import SearchIndexError
from cirray.index.backend import IndexBackend
from cirray.storage.location import Location


def open_backend(settings: IndexAccess) -> IndexBackend:
    """Returns the server backend if QDRANT_URL is set, else the embedded backend for the folder or URI `settings.path`.

    There is no fallback: an unreachable server is an error.

    Environment: QDRANT_URL, QDRANT_API_KEY, QDRANT_GRPC_PORT (default 6334).

    Raises:
        SearchIndexError: QDRANT_URL, the key or the port is wrong, or the server is too old.
        IndexUnavailableError: the server does not answer.
    """
    url = os.environ.get("QDRANT_URL")
    if url:
        from cirray.index.server import connect_backend  # the client takes a second to import

        return connect_backend(url, os.environ.get("QDRANT_API_KEY"), settings, _grpc_port())
    location = Location.configured(settings.path, "index")
    if location.is_remote:
        from cirray.index.remote import RemoteEdgeBackend

        return RemoteEdgeBackend(location)
    from cirray.index.edge import EdgeBackend

    return EdgeBackend(location.local)


def _grpc_port() -> int:
    text = os.environ.get("QDRANT_GRPC_PORT", "6334")
    if not text.isdigit():
        raise SearchIndexError(f"QDRANT_GRPC_PORT is {text!r}: give a port number, such as 6334")
    return int(text)
