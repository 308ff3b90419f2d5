"""Compressed archives of folders, each written to an object store as one object.

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
# Part of the names of Qdrant Edge's short-lived temporary folders.
TEMPORARY = ".atomicwrite"


def pack(folder: Path, stream: IO[bytes], label: str) -> None:
    """Writes an archive of a folder to a stream, with a progress bar called `label`."""
    paths = [path for path in sorted(folder.rglob("*")) if TEMPORARY not in str(path.relative_to(folder))]
    total, done = sum(path.stat().st_size for path in paths if path.is_file()), 0
    with (
        bar(total // _MB, label, "MB") as progress,
        pa.CompressedOutputStream(stream, _METHOD) as packed,
        tarfile.open(fileobj=packed, mode="w|", bufsize=_BUFFER) as archive,
    ):
        for path in paths:
            archive.add(path, path.relative_to(folder).as_posix(), recursive=False)
            done += path.stat().st_size if path.is_file() else 0
            progress.update(done // _MB - progress.n)


def unpack(stream: IO[bytes], size: int, folder: Path, label: str) -> None:
    """Extracts an archive that `pack` wrote, with a progress bar.

    Args:
        stream: the archive.
        size: its size in bytes.
        folder: a new folder for its content.
        label: its name in the progress bar and in errors.

    Raises:
        SearchIndexError: the stream is damaged.
    """
    folder.mkdir(parents=True)
    try:
        with (
            bar(size // _MB, label, "MB") as progress,
            pa.CompressedInputStream(pa.PythonFile(_ProgressStream(stream, progress), mode="r"), _METHOD) as packed,
            tarfile.open(fileobj=packed, mode="r|", bufsize=_BUFFER) as archive,
        ):
            for member in archive:
                archive.extract(member, folder, filter="data")  # refuses paths and links that leave the folder
    except tarfile.TarError as error:
        raise SearchIndexError(f"{label}: the archive is damaged ({error}): roll back, or index again") from None


class _ProgressStream:
    """A readable stream that advances a progress bar by the bytes read; object stores' streams have no `tell`."""

    def __init__(self, stream: IO[bytes], progress: tqdm) -> None:
        self._stream = stream
        self._progress = progress
        self._read = 0
        self.closed = False

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._read += len(content)
        self._progress.update(self._read // _MB - self._progress.n)
        return content

    def close(self) -> None:
        self.closed = True
