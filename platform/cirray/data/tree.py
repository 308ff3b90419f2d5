"""Where a dataset's files are: a folder of this machine, or a URI.

Files that say what there is (annotations, catalogs) are read from a mirror of the URI. Pictures stay at the URI: who
checks or decodes one reads it from there, and no machine needs room for all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cirray.console.log import log
from cirray.data.images import Picture, RemotePicture
from cirray.errors import LocationError
from cirray.storage.location import Remote, Stamp, is_remote, join, mirror_of


def open_tree(place: str) -> Tree:
    """Returns the files below a folder or URI.

    Raises:
        LocationError: nothing is at the URI, or it cannot be reached.
    """
    return RemoteTree(place) if is_remote(place) else Tree(Path(place).expanduser().absolute())


class Tree:
    """The files below a folder of this machine. They are named by their paths below `root`, an absolute path."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def where(self, path: Path) -> str:
        """Returns what people call a file."""
        return str(path)

    def local(self, path: Path) -> Path:
        """Returns a file of this machine with the content of one that is to be read now; it may not exist."""
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

    def picture(self, path: Path) -> Picture:
        """Returns a picture, which may not exist."""
        return path


class RemoteTree(Tree):
    """The files below a URI, as they were listed when it was opened; `root` is the URI's mirror."""

    def __init__(self, uri: str) -> None:
        super().__init__(mirror_of(uri))
        self._remote = Remote(uri)
        log(f"listing {uri}")
        self._stamps = self._remote.stamps()
        if not self._stamps:
            raise LocationError(f"{uri} holds no file: check the address, or copy the data there")
        self._folders = _folders(self._stamps)

    def where(self, path: Path) -> str:
        """See `Tree`."""
        name = self._name(path)
        return join(self._remote.uri, name) if name else self._remote.uri

    def local(self, path: Path) -> Path:
        """See `Tree`. The mirrored file takes over the time of change, and so tells whether it is of today."""
        stamp = self._stamps.get(self._name(path))
        if stamp is None:
            path.unlink(missing_ok=True)
        elif _stamp(path) != stamp:
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

    def picture(self, path: Path) -> RemotePicture:
        """See `Tree`."""
        return RemotePicture(self.where(path), self._stamps.get(self._name(path)))

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


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns
