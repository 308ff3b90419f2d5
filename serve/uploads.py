"""Uploaded pictures: decoded a few at a time, and kept under the hash of their bytes."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from cirray.config.data import Preprocess
from cirray.data.images import content_pixels
from cirray.storage.files import replacing
from serve.errors import UnfitRequestError


class Uploads:
    """Turns picture files into pixels, in threads of its own: a decoded picture may be a thousand times its file.

    Args:
        folder: where pictures of items are kept.
        max_pixels: of one picture.
        threads: pictures decoded at a time; Pillow decodes outside the GIL.
    """

    def __init__(self, folder: Path, max_pixels: int, threads: int) -> None:
        self._folder = folder
        self._max_pixels = max_pixels
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    async def decode(self, content: bytes, name: str, size: int, preprocess: Preprocess) -> np.ndarray:
        """Returns the pixels of a picture file for the image tower, uint8 [3, size, size].

        Raises:
            PictureError: it is none, or too large; `name` says which.
        """

        def work() -> np.ndarray:
            return content_pixels(content, name, size, preprocess, self._max_pixels)

        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def keep(self, content: bytes) -> Path:
        """Writes a picture file, in full or not at all; returns where, named by the SHA-256 of its bytes."""
        return await asyncio.to_thread(self._keep, content)

    def close(self) -> None:
        """Stops the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _keep(self, content: bytes) -> Path:
        path = self._folder / hashlib.sha256(content).hexdigest()
        if not path.exists():
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        return path


def from_base64(text: str, where: str) -> bytes:
    """Returns the bytes; raises UnfitRequestError, which names the field."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UnfitRequestError(f"{where} is not base64: send the picture file's bytes in base64") from None
