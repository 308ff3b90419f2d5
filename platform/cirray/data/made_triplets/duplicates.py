"""Finds pictures that show no difference: the same file, or nearly the same pixels.

Two pictures are nearly identical if no pixel of their thumbnails differs by more than a tolerance in any channel. The
maximum is used, not a mean and not a perceptual hash such as dHash: these ignore small or color-only differences,
such as a logo or another color of the same drawing, which are what triplets are about.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cirray.console.bars import bar
from cirray.data.images import PictureError, decode_rgb, read_bytes, reading_threads
from cirray.storage.tree import File

# Side of a thumbnail in pixels. Thumbnails of photos that were compressed again or resized differ less than those of
# more pixels, and small real differences still show.
SIDE = 16
# Largest difference of nearly identical pictures, of 255. Copies of photos (JPEG quality 50 to 90, half the size)
# differ by at most 9; drawings that differ only in the tone of a hand by at least 25.
TOLERANCE = 12
_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """What pictures are compared by.

    Attributes:
        digest: SHA-256 of the file's bytes.
        pixels: uint8 [SIDE, SIDE, 3].
    """

    digest: bytes
    pixels: np.ndarray

    def is_nearly(self, other: Thumbnail) -> bool:
        """Whether the two pictures are nearly identical."""
        if self.digest == other.digest:
            return True
        return bool((np.abs(self.pixels.astype(np.int16) - other.pixels) <= TOLERANCE).all())


def read_thumbnails(pictures: Sequence[File]) -> tuple[dict[File, Thumbnail], dict[File, str]]:
    """Decodes pictures, each file once, and shows a progress bar.

    Returns:
        (thumbnails, failures): picture -> thumbnail, and picture -> why it cannot be read.
    """
    files = list(dict.fromkeys(pictures))
    thumbnails: dict[File, Thumbnail] = {}
    failures: dict[File, str] = {}
    threads = reading_threads(files, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool, bar(len(files), "reading pictures", "files") as shown:
        for start in range(0, len(files), _CHUNK):  # in chunks: every queued file costs memory
            chunk = files[start : start + _CHUNK]
            for file, result in zip(chunk, pool.map(_read, chunk), strict=True):
                shown.update()
                if isinstance(result, Thumbnail):
                    thumbnails[file] = result
                else:
                    failures[file] = result
    return thumbnails, failures


def _read(picture: File) -> Thumbnail | str:
    try:
        content = read_bytes(picture)
        image = decode_rgb(content, str(picture), "white")
    except PictureError as error:
        return error.what
    small = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    return Thumbnail(hashlib.sha256(content).digest(), np.asarray(small))
