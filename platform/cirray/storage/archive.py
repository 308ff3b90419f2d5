"""A folder as one compressed archive: one atomic write to an object store.

Qdrant Edge writes sparse files of 32 MB and more, which compress to almost nothing.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import IO

import pyarrow as pa
from tqdm import tqdm

from cirray.console.bars import bar
from cirray.errors import SearchIndexError

SUFFIX = ".tar.zst"
_METHOD = "zstd"
_BUFFER = 2**20
_MB = 2**20
# Names of folders that Qdrant Edge creates and removes at once.
TEMPORARY = ".atomicwrite"


def pack(folder: Path, stream: IO[bytes], label: str) -> None:
    """Writes everything below a folder to a stream, with a progress bar."""
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
    """Extracts an archive of `pack` into a folder, with a progress bar over the `size` bytes of the stream.

    Raises:
        SearchIndexError: the stream is damaged.
    """
    folder.mkdir(parents=True)
    try:
        with (
            bar(size // _MB, label, "MB") as shown,
            pa.CompressedInputStream(pa.PythonFile(_Counted(stream, shown), mode="r"), _METHOD) as packed,
            tarfile.open(fileobj=packed, mode="r|", bufsize=_BUFFER) as archive,
        ):
            for member in archive:
                archive.extract(member, folder, filter="data")  # nothing outside the folder, no links out of it
    except tarfile.TarError as error:
        raise SearchIndexError(f"{label}: it is damaged ({error}): roll back, or index again") from None


class _Counted:
    """A stream that advances a progress bar; streams of object stores have no `tell`."""

    def __init__(self, stream: IO[bytes], shown: tqdm) -> None:
        self._stream = stream
        self._shown = shown
        self._read = 0
        self.closed = False

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._read += len(content)
        self._shown.update(self._read // _MB - self._shown.n)
        return content

    def close(self) -> None:
        self.closed = True
