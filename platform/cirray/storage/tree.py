"""File trees: the files below a location.

Annotation files and catalogs at a URI are read from its mirror. Pictures are read directly from the URI when they are
checked or decoded, so no machine needs disk space for all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cirray.console.log import log
from cirray.errors import LocationError
from cirray.storage.location import Location
from cirray.storage.remote import Remote, Stamp


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at a URI that is not downloaded to the mirror.

    Attributes:
        uri: its address, also returned by `str()`.
        stamp: its stamp when its tree was listed; None if it was not in the listing.
    """

    uri: str
    stamp: Stamp | None

    def __str__(self) -> str:
        return self.uri


File = Path | RemoteFile


def file_stamp(file: File) -> Stamp | None:
    """Returns the size in bytes and modification time in ns of a file; None if it does not exist.

    For a remote file, these are as of the listing of its tree.
    """
    if isinstance(file, RemoteFile):
        return file.stamp
    try:
        status = file.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return status.st_size, status.st_mtime_ns


def open_tree(location: Location) -> Tree:
    """Returns the files below a location.

    Raises:
        LocationError: the URI has no files, or cannot be reached.
    """
    return RemoteTree(location) if location.is_remote else Tree(location.local)


class Tree:
    """The files below a folder on this machine. Paths are absolute and below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def where(self, path: Path) -> str:
        """Returns the path or URI of a file."""
        return str(path)

    def local(self, path: Path) -> Path:
        """Returns the path on this machine from which a file can be read; it may not exist."""
        return path

    def exists(self, path: Path) -> bool:
        """Whether a file or folder exists."""
        return path.exists()

    def entries(self, folder: Path) -> list[Path]:
        """Returns what is right below a folder, sorted; [] if there is no such folder."""
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def files(self) -> Iterator[Path]:
        """Yields all files except hidden ones. Symbolic links are followed, except to a folder that contains them."""
        return _files(self.root, frozenset())

    def file(self, path: Path) -> File:
        """Returns a file for reading later; it may not exist."""
        return path


class RemoteTree(Tree):
    """The files below a URI, as listed when the tree was opened; `root` is the URI's mirror."""

    def __init__(self, location: Location) -> None:
        super().__init__(location.local)
        self._location = location
        self._remote = Remote(str(location))
        log(f"listing {location}")
        self._stamps = self._remote.stamps()
        if not self._stamps:
            raise LocationError(f"{location} has no files: check the address, or copy the data there")
        self._folders = _folders(self._stamps)

    def where(self, path: Path) -> str:
        """See `Tree`."""
        name = self._name(path)
        return str(self._location / name if name else self._location)

    def local(self, path: Path) -> Path:
        """See `Tree`. Downloads the file unless the mirror has it with the listed size and modification time."""
        stamp = self._stamps.get(self._name(path))
        if stamp is None:
            path.unlink(missing_ok=True)
        elif file_stamp(path) != stamp:
            self._remote.get(self._name(path), path)
            os.utime(path, ns=(stamp[1], stamp[1]))
        return path

    def exists(self, path: Path) -> bool:
        """See `Tree`."""
        return self._name(path) in self._stamps or self._name(path) in self._folders

    def entries(self, folder: Path) -> list[Path]:
        """See `Tree`."""
        names = [*self._stamps, *self._folders]
        return sorted(self.root / name for name in names if name.rpartition("/")[0] == self._name(folder))

    def files(self) -> Iterator[Path]:
        """See `Tree`."""
        for name in self._stamps:
            if not any(part.startswith(".") for part in name.split("/")):
                yield self.root / name

    def file(self, path: Path) -> RemoteFile:
        """See `Tree`."""
        return RemoteFile(self.where(path), self._stamps.get(self._name(path)))

    def _name(self, path: Path) -> str:
        name = path.relative_to(self.root).as_posix()
        return "" if name == "." else name


def _files(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _files(path, above | {real})
        else:
            yield path


def _folders(names: dict[str, Stamp]) -> set[str]:
    folders: set[str] = set()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return folders
