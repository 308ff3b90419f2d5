"""Small pictures of catalog items, made when they are first asked for and kept in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from io import BytesIO

from cirray.data.images import Background, open_rgb
from cirray.index.items import Item

MEDIA_TYPE = "image/webp"
_QUALITY = 82


class Thumbnails:
    """Thumbnails by content and size; the least recently used are forgotten.

    Args:
        background: what transparent pictures are laid on.
        max_bytes: of all kept thumbnails together.
    """

    def __init__(self, background: Background, max_bytes: int = 64 * 2**20) -> None:
        self._background: Background = background
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, item: Item, size: int) -> bytes:
        """Returns a WebP picture that fits into a square of `size` pixels.

        The picture is the one that the index names, a file or a URI: nothing of a request is ever opened.

        Raises:
            PictureError: the item's picture is not there any more, or broken.
            LocationError: its URI cannot be reached.
        """
        key = item.content, size
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        picture = open_rgb(item.image, self._background)
        picture.thumbnail((size, size))
        stream = BytesIO()
        picture.save(stream, "WEBP", quality=_QUALITY)
        content = stream.getvalue()
        with self._lock:
            self._keep(key, content)
        return content

    def _keep(self, key: tuple[str, int], content: bytes) -> None:
        if key in self._kept or len(content) > self._max_bytes:
            return
        self._kept[key] = content
        self._bytes += len(content)
        while self._bytes > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped)
