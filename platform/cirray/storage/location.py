"""One type for where files are: a folder of this machine (local or NFS), or a URI (s3://, gs://).

A URI has a mirror, a folder of this machine that stands for it. A job writes into `local` and calls `push`, which
uploads file by file and the manifest last, so that an existing manifest means a complete folder at the URI too.
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
    """Whether a text is a URI and not a path."""
    return "://" in text


@dataclass(frozen=True)
class Location:
    """A folder or a file, on this machine or at a URI. `str()` is its absolute path or its URI.

    It is pickled without its mirror: every machine has its own.

    Attributes:
        root: an absolute path, or the URI that was parsed, whose mirror holds what is below it.
        path: path below a URI; "" for the root itself.

    Raises:
        LocationError: from any method: pyarrow does not know the URI, or it cannot be reached.
    """

    root: str
    path: str = ""

    @classmethod
    def parse(cls, text: str | os.PathLike[str]) -> Location:
        """Returns the location that a person names. Symbolic links are kept."""
        text = os.fspath(text)
        return cls(text.rstrip("/")) if is_uri(text) else cls(str(Path(text).expanduser().absolute()))

    @classmethod
    def configured(cls, setting: str, name: str) -> Location:
        """Returns the location of a setting, or of the folder `name` in $CIRRAY_HOME (~/.cache/cirray) if it is ""."""
        return cls.parse(setting or cache_folder("", name)).resolve()

    def resolve(self) -> Location:
        """Follows the symbolic links of a folder; returns a URI as it is."""
        return self if self.is_remote else Location(str(self.local.resolve()))

    def __str__(self) -> str:
        return f"{self.root}/{self.path}" if self.path else self.root

    def __truediv__(self, name: str) -> Location:
        """Returns what is at the relative path `name` below this location."""
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
        """The path on this machine: itself, or the mirror of a URI."""
        return _mirror(self.root) / self.path if self.is_remote else Path(self.root)

    def names(self) -> list[str]:
        """Returns the relative paths of all files below this folder, sorted; [] if it does not exist."""
        if self.is_remote:
            return sorted(self._remote.names())
        return sorted(path.relative_to(self.local).as_posix() for path in self.local.rglob("*") if path.is_file())

    def read(self, name: str) -> bytes | None:
        """Returns the content of a file of this folder, from the URI itself; None if there is none.

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
        """Writes a file of this folder atomically, at the URI itself."""
        if self.is_remote:
            self._remote.write(name, content)
            return
        with replacing(self.local / name) as temporary:
            temporary.write_bytes(content)

    def stamp(self, name: str) -> str:
        """Returns a text that changes when a file of this folder is rewritten, or when a link to the folder is moved.

        "" if there is no such file.
        """
        if self.is_remote:
            found = self._remote.stamp(name)
            return "-".join(map(str, found)) if found else ""
        try:
            path = (self.local / name).resolve(strict=True)
            status = path.stat()
        except FileNotFoundError:
            return ""
        return f"{path}-{status.st_mtime_ns}-{status.st_ino}"

    def push(self, last: str | None = None) -> None:
        """Uploads the mirror's file, or its folder with the file `last` at the end; does nothing for a local folder.

        Hidden files stay.
        """
        if not self.is_remote:
            return
        if self.local.is_file():
            self._remote.put(self.local, "")
            return
        names = [path.relative_to(self.local) for path in sorted(self.local.rglob("*")) if path.is_file()]
        shown = [name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)]
        for name in sorted(shown, key=lambda name: name == last):
            self._remote.put(self.local / name, name)

    def pull(self, without: str = "") -> None:
        """Downloads every file into the mirror, except those below folders called `without`."""
        if self.is_remote:
            for name in self._remote.names():
                if without not in name.split("/")[:-1]:
                    self._remote.get(name, self.local / name)

    def fetch(self, manifest: str) -> Path:
        """Returns a folder of this machine with the content of this complete folder.

        A URI is downloaded again only when its manifest has changed. Each version gets a folder of its own, so that
        readers of an older one keep their files.

        Raises:
            LocationError: the manifest is missing at the URI.
        """
        if not self.is_remote:
            return self.local
        stamp = self.stamp(manifest)
        if not stamp:
            raise LocationError(
                f"{self} holds nothing complete ({manifest} is missing): check the address, or write it again"
            )
        folder = _mirror(str(self)) / hashlib.sha256(stamp.encode()).hexdigest()[:16]
        if not (folder / manifest).is_file():
            loading = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
            for name in self._remote.names():
                self._remote.get(name, loading / name)
            try:
                loading.rename(folder)
            except OSError:  # another process of this machine was faster
                shutil.rmtree(loading)
        return folder

    def drop(self) -> None:
        """Deletes this folder and all below it, on this machine and at the URI."""
        shutil.rmtree(self.local, ignore_errors=True)
        if self.is_remote:
            self._remote.drop("")

    @cached_property
    def _remote(self) -> Remote:
        return Remote(str(self))


def _mirror(uri: str) -> Path:
    name = hashlib.sha256(uri.rstrip("/").encode()).hexdigest()[:24]
    return cache_folder("", "mirrors") / name
