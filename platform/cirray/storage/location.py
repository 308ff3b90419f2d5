"""Locations of files: a path on this machine (local disk or NFS), or a URI (s3://, gs://).

A URI has a mirror, its local copy on this machine. A job writes into the mirror (`local`) and calls `push`, which
uploads the manifest after all other files: a manifest at the URI means that the folder there is complete.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cirray.errors import LocationError
from cirray.storage.files import cache_folder, replacing
from cirray.storage.remote import Remote


def is_uri(text: str) -> bool:
    """Whether a string is a URI and not a path."""
    return "://" in text


@dataclass(frozen=True)
class Location:
    """A folder or a file, on this machine or at a URI. `str()` returns its absolute path or its URI.

    Pickling leaves the mirror out: every machine has its own.

    Attributes:
        root: an absolute path, or the URI that was parsed; the mirror is that of this URI.
        path: path relative to a URI; "" for the URI itself.

    Raises:
        LocationError: from any method, if pyarrow does not support the URI, or it cannot be reached.
    """

    root: str
    path: str = ""

    @classmethod
    def parse(cls, text: str | os.PathLike[str]) -> Location:
        """Returns the location of a path or URI. Relative paths and ~ are expanded; symbolic links are kept."""
        text = os.fspath(text)
        return cls(text.rstrip("/")) if is_uri(text) else cls(str(Path(text).expanduser().absolute()))

    @classmethod
    def configured(cls, setting: str, name: str) -> Location:
        """Returns the location of a setting; if it is "", the folder `name` in $CIRRAY_HOME or ~/.cache/cirray."""
        return cls.parse(setting or cache_folder("", name)).resolve()

    def resolve(self) -> Location:
        """Returns the location with symbolic links resolved; a URI is returned unchanged."""
        return self if self.is_remote else Location(str(self.local.resolve()))

    def __str__(self) -> str:
        return f"{self.root}/{self.path}" if self.path else self.root

    def __truediv__(self, name: str) -> Location:
        """Returns the location of the relative path `name` in this folder."""
        if self.is_remote:
            return Location(self.root, f"{self.path}/{name}" if self.path else name)
        return Location(str(self.local / name))

    def __reduce__(self) -> tuple[type[Location], tuple[str, str]]:
        return Location, (self.root, self.path)

    @property
    def is_remote(self) -> bool:
        """Whether it is a URI."""
        return is_uri(self.root)

    @property
    def local(self) -> Path:
        """The path on this machine; for a URI, that of its mirror."""
        return _mirror(self.root) / self.path if self.is_remote else Path(self.root)

    def names(self) -> list[str]:
        """Returns the relative paths of all files below this folder, sorted; [] if it does not exist."""
        if self.is_remote:
            return sorted(self._remote.names())
        return sorted(path.relative_to(self.local).as_posix() for path in self.local.rglob("*") if path.is_file())

    def read(self, name: str) -> bytes | None:
        """Returns the content of a file in this folder; None if it does not exist. Bypasses the mirror.

        Raises:
            OSError: a file of this machine cannot be read.
        """
        if self.is_remote:
            return self._remote.read(name)
        try:
            return (self.local / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Writes a file in this folder atomically. Bypasses the mirror."""
        if self.is_remote:
            self._remote.write(name, content)
            return
        with replacing(self.local / name) as temporary:
            temporary.write_bytes(content)

    def stamp(self, name: str) -> str:
        """Returns a version stamp of a file in this folder; "" if the file does not exist.

        The stamp changes when the file is rewritten, or when a symbolic link to the folder is changed.
        """
        if self.is_remote:
            remote_stamp = self._remote.stamp(name)
            return "-".join(map(str, remote_stamp)) if remote_stamp else ""
        try:
            path = (self.local / name).resolve(strict=True)
            status = path.stat()
        except FileNotFoundError:
            return ""
        return f"{path}-{status.st_mtime_ns}-{status.st_ino}"

    def push(self, last: str | None = None) -> None:
        """Uploads the mirror, a file or a folder, to the URI; does nothing for a local path.

        Hidden files are not uploaded.

        Args:
            last: name of the file that is uploaded after all others, such as a manifest.
        """
        if not self.is_remote:
            return
        if self.local.is_file():
            self._remote.put(self.local, "")
            return
        names = [path.relative_to(self.local) for path in sorted(self.local.rglob("*")) if path.is_file()]
        visible = [name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)]
        for name in sorted(visible, key=lambda name: name == last):
            self._remote.put(self.local / name, name)

    def pull(self, without: str = "") -> None:
        """Downloads all files into the mirror, except those in folders named `without`; nothing for a local path."""
        if self.is_remote:
            for name in self._remote.names():
                if without not in name.split("/")[:-1]:
                    self._remote.get(name, self.local / name)

    def fetch(self, manifest: str) -> Path:
        """Returns a folder on this machine with the content of this complete folder.

        A URI is downloaded only when its manifest has changed. Each version is downloaded into a folder of its own, so
        processes that still read an older version keep their files.

        Args:
            manifest: name of the file that is written last.

        Raises:
            LocationError: the manifest is missing at the URI.
        """
        if not self.is_remote:
            return self.local
        stamp = self.stamp(manifest)
        if not stamp:
            raise LocationError(
                f"{self} is incomplete ({manifest} is missing): check the address, or upload the folder again"
            )
        folder = _mirror(str(self)) / hashlib.sha256(stamp.encode()).hexdigest()[:16]
        if not (folder / manifest).is_file():
            download = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
            for name in self._remote.names():
                self._remote.get(name, download / name)
            try:
                download.rename(folder)
            except OSError:  # another process on this machine finished first
                shutil.rmtree(download)
        return folder

    def drop(self) -> None:
        """Deletes this folder with its content, on this machine and at the URI."""
        shutil.rmtree(self.local, ignore_errors=True)
        if self.is_remote:
            self._remote.drop("")

    @cached_property
    def _remote(self) -> Remote:
        return Remote(str(self))


def _mirror(uri: str) -> Path:
    name = hashlib.sha256(uri.rstrip("/").encode()).hexdigest()[:24]
    return cache_folder("", "mirrors") / name
