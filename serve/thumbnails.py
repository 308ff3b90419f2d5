"""Thumbnails of catalog items, made on the first request and cached in bounded memory."""

from __future__ import annotations

import threading
from io import BytesIO

from cachetools import LRUCache, cachedmethod

from cirray.data.images import Background, open_rgb
from cirray.index.items import Item, Picture

MEDIA_TYPE = "image/webp"
_QUALITY = 82


class Thumbnails:
    """Thumbnails by content and size. Thread-safe.

    Args:
        background: color behind transparent pictures.
        max_bytes: size of the cache; the least recently used thumbnails are dropped.
    """

    def __init__(self, background: Background, max_bytes: int = 64 * 2**20) -> None:
        self._background: Background = background
        self._cache: LRUCache[tuple[str, int], bytes] = LRUCache(max_bytes, getsizeof=len)
        self._lock = threading.Lock()

    @cachedmethod(
        lambda self: self._cache, key=lambda self, picture, size: (picture.content, size), lock=lambda self: self._lock
    )
    def get(self, picture: Item | Picture, size: int) -> bytes:
        """Returns a WebP picture that fits into a square of `size` pixels.

        Opens the file or URI that the index names, never one that a request names.

        Raises:
            PictureError: the picture is missing or broken.
            LocationError: its URI cannot be reached.
        """
        opened = open_rgb(picture.image, self._background)
        opened.thumbnail((size, size))
        stream = BytesIO()
        opened.save(stream, "WEBP", quality=_QUALITY)
        return stream.getvalue()
