"""A folder as one compressed stream, for object stores: they know no folders, and take a stream in full or not at all.

The engine lays out files of 32 MB and more that are mostly holes: compressed, these cost nothing.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import IO

import pyarrow as pa

from cirray.bars import bar
from cirray.errors import SearchIndexError

SUFFIX = ".tar.zst"
_METHOD = "zstd"
_BUFFER = 2**20
_MB = 2**20
# Such folders are the engine's for a moment only.
TEMPORARY = ".atomicwrite"


def pack(folder: Path, stream: IO[bytes], label: str) -> None:
    """Writes all that is below a folder, with a progress bar."""
    paths = [path for path in sorted(folder.rglob("*")) if TEMPORARY not in str(path.relative_to(folder))]
    total, done = sum(path.stat().st_size for path in paths if path.is_file()), 0
    with (
        bar(total // _MB, label, "MB") as shown,
        pa.CompressedOutputStream(stream, _METHOD) as packed,
        tarfile.open(fileobj=packed, mode="w|", bufsize=_BUFFER) as archive,
    ):
        for path in paths:
            archive.add(path, path.relative_to(folder).as_posix(), recursive=False)
            done += path.stat().st_size if path.is_file() else 0
            shown.update(done // _MB - shown.n)


def unpack(stream: IO[bytes], size: int, folder: Path, label: str) -> None:
    """Writes below a folder what `pack` has read, with a progress bar over the `size` bytes of the stream.

    Raises:
        SearchIndexError: the stream is damaged.
    """
    folder.mkdir(parents=True)
    try:
        with (
            bar(size // _MB, label, "MB") as shown,
            pa.CompressedInputStream(stream, _METHOD) as packed,
            tarfile.open(fileobj=packed, mode="r|", bufsize=_BUFFER) as archive,
        ):
            for member in archive:
                archive.extract(member, folder, filter="data")  # nothing outside the folder, no links out of it
                shown.update(stream.tell() // _MB - shown.n)
    except tarfile.TarError as error:
        raise SearchIndexError(
            f"{label}: it is damaged ({error}): publish another generation, or index again"
        ) from None
