"""The catalogue index: generations of embedded pictures in Qdrant, published atomically."""

from __future__ import annotations

import os

from cirray.config import Indexing
from cirray.index.home import Home


def open_home(settings: Indexing) -> Home:
    """Returns the server's home when QDRANT_URL is set, else the embedded one. Never one in place of the other.

    Environment: QDRANT_URL, QDRANT_API_KEY.
    """
    url = os.environ.get("QDRANT_URL")
    if url:
        from cirray.index.server import connect_home  # the client takes a second to import

        return connect_home(url, os.environ.get("QDRANT_API_KEY"), settings)
    from cirray.index.edge import EdgeHome

    return EdgeHome.at(settings.path)
