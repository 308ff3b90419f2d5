"""File trees: the files below a location.

Annotation files and catalogs are read from a mirror of a URI. Pictures stay at the URI: each is read from there when
it is checked or decoded, so that no machine needs disk space for all of them.
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
    """A file that stays at a URI until it is read.

    Attributes:
        uri: its address, and its `str()`.
        stamp: as in the listing of its tree; None if it was not listed.
    """

    uri: str
    stamp: Stamp | None

    def __str__(self) -> str:
        return self.uri


File = Path | RemoteFile


def file_stamp(file: File) -> Stamp | None:
    """Returns the size and modification time of a file, of a remote one as it was listed; None if there is none."""
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
        LocationError: nothing is at the URI, or it cannot be reached.
    """
    return RemoteTree(location) if location.is_remote else Tree(location.local)


class Tree:
    """The files below a folder of this machine. They are named by their paths below `root`, an absolute path."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def where(self, path: Path) -> str:
        """Returns the path or URI of a file."""
        return str(path)

    def local(self, path: Path) -> Path:
        """Returns the path on this machine to read a file from now; it may not exist."""
        return path

    def exists(self, path: Path) -> bool:
        """Returns whether there is such a file or folder."""
        return path.exists()

    def entries(self, folder: Path) -> list[Path]:
        """Returns what is right below a folder, sorted; [] if there is no such folder."""
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def files(self) -> Iterator[Path]:
        """Yields all files but hidden ones. Links are followed, but not back to a folder that they lie in."""
        return _files(self.root, frozenset())

    def file(self, path: Path) -> File:
        """Returns a file to be read later, which may not exist."""
        return path


class RemoteTree(Tree):
    """The files below a URI, as they were listed when it was opened; `root` is the URI's mirror."""

    def __init__(self, location: Location) -> None:
        super().__init__(location.local)
        self._location = location
        self._remote = Remote(str(location))
        log(f"listing {location}")
        self._stamps = self._remote.stamps()
        if not self._stamps:
            raise LocationError(f"{location} holds no file: check the address, or copy the data there")
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
    found: set[str] = set()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found
