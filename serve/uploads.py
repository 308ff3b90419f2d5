"""Uploaded pictures: decodes a few at a time, and stores those of items under the hash of their bytes."""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from cirray.config.data import Preprocess
from cirray.data.images import content_pixels
from cirray.storage.files import replacing


class Uploads:
    """Decodes picture files in its own threads, few at a time: pixels may take a thousand times the bytes of the file.

    Args:
        folder: stores the pictures of items.
        max_pixels: largest number of pixels of one picture.
        threads: number of pictures decoded at a time; Pillow decodes outside the GIL.
    """

    def __init__(self, folder: Path, max_pixels: int, threads: int) -> None:
        self._folder = folder
        self._max_pixels = max_pixels
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    async def decode(self, content: bytes, name: str, size: int, preprocess: Preprocess) -> np.ndarray:
        """Returns the pixels of a picture file for the image tower, uint8 [3, size, size].

        Raises:
            PictureError: the file is not a picture, or is too large; the message calls it `name`.
        """

        def work() -> np.ndarray:
            return content_pixels(content, name, size, preprocess, self._max_pixels)

        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def keep(self, content: bytes) -> Path:
        """Stores a picture file atomically; returns its path, which is named by the SHA-256 of its bytes."""
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
