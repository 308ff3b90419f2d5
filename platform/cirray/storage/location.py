"""Places that all nodes of a cluster reach: a folder (local, NFS), or a URI that pyarrow knows (s3://, gs://).

A URI is worked with through a mirror, a folder of this machine. What is fetched appears in the mirror in full or not at
all; what is pushed appears at the URI file by file, the named manifest last, so that its existence means complete there
too. Credentials and endpoints come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from pyarrow import fs

from cirray.errors import LocationError
from cirray.storage.files import cache_folder, replacing

Result = TypeVar("Result")
# bytes, time of change in ns: what changes when a file is written again (object stores tell whole seconds)
Stamp = tuple[int, int]
# Each read of a file's stream that goes beyond it is a request.
_BUFFER = 8 * 2**20


def is_remote(place: str | Path) -> bool:
    """Whether a place is a URI."""
    return "://" in str(place)


def mirror_of(place: str | Path) -> Path:
    """Returns the folder of this machine that stands for a place: itself, or a URI's mirror."""
    if not is_remote(place):
        return Path(place).expanduser().resolve()
    name = hashlib.sha256(str(place).rstrip("/").encode()).hexdigest()[:24]
    return cache_folder("", "mirrors") / name


def join(place: str | Path, *parts: str) -> str:
    """Returns a place below another one."""
    return "/".join([str(place).rstrip("/"), *parts])


def store_location(setting: str) -> str:
    """Returns where the feature store is: the setting (a folder or a URI), or $CIRRAY_HOME/store, or ~/.cache/..."""
    return setting if is_remote(setting) else str(cache_folder(setting, "store"))


def store_folder(setting: str) -> Path:
    """Returns the feature store's folder on this machine: itself, or the mirror of its URI."""
    return mirror_of(store_location(setting))


class Remote:
    """A folder at a URI; or a file, whose name is then "".

    Raises:
        LocationError: the URI is not understood.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        scheme, _, rest = self.uri.partition("://")
        bucket, _, path = rest.partition("/")  # the path is the object's own: it may hold spaces and percent signs
        try:
            self._fs, root = fs.FileSystem.from_uri(f"{scheme}://{bucket}/")
        except (OSError, ValueError) as error:
            known = "s3://BUCKET/PATH, gs://BUCKET/PATH, or a folder"
            raise LocationError(f"{uri} cannot be used: {error}; give {known}") from None
        self._root = f"{root.rstrip('/')}/{path}" if path else root

    def names(self, below: str = "") -> dict[str, int]:
        """Returns the files below a folder, as paths relative to the root, with their sizes."""
        return {name: size for name, (size, _) in self.stamps(below).items()}

    def stamps(self, below: str = "") -> dict[str, Stamp]:
        """Returns the files below a folder, as paths relative to the root, with their stamps."""
        selector = fs.FileSelector(self._path(below), recursive=True, allow_not_found=True)
        found = _ours(self.uri, lambda: self._fs.get_file_info(selector))
        start = len(self._root.rstrip("/")) + 1
        return {info.path[start:]: (info.size, info.mtime_ns) for info in found if info.type == fs.FileType.File}

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        info = _ours(self.uri, lambda: self._fs.get_file_info(self._path(name)))
        return bool(info.type == fs.FileType.File)

    def stamp(self, name: str) -> str:
        """Returns what changes when a file is written again; "" if there is none."""
        info = _ours(self.uri, lambda: self._fs.get_file_info(self._path(name)))
        return f"{info.size}-{info.mtime_ns}" if info.type == fs.FileType.File else ""

    def read(self, name: str) -> bytes | None:
        """Returns the content of a file; None if there is none."""
        try:
            with self._fs.open_input_stream(self._path(name)) as stream:
                content: bytes = stream.read()
                return content
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _place_error(self.uri, error) from None

    def write(self, name: str, content: bytes) -> None:
        """Writes a file; object stores show it in full or not at all."""
        with self.writing(name) as stream:
            stream.write(content)

    @contextmanager
    def reading(self, name: str) -> Iterator[IO[bytes]]:
        """Opens a file for reading it once, from its beginning to its end."""
        try:
            with self._fs.open_input_stream(self._path(name), buffer_size=_BUFFER) as stream:
                yield stream
        except OSError as error:
            raise _place_error(join(self.uri, name), error) from None

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Opens a file for writing. After an error it may be there in part: a manifest has to come later."""
        try:
            with self._fs.open_output_stream(self._path(name)) as stream:
                yield stream
        except OSError as error:
            raise _place_error(join(self.uri, name), error) from None

    def get(self, name: str, to: Path) -> None:
        """Fetches a file; it appears under `to` in full or not at all."""
        with replacing(to) as temporary:
            _ours(self.uri, lambda: fs.copy_files(self._path(name), str(temporary), self._fs, fs.LocalFileSystem()))

    def put(self, file: Path, name: str) -> None:
        """Writes a file; object stores show it in full or not at all."""
        # Not pyarrow's copy_files: it says nothing of a store that refuses when the file is closed.
        with file.open("rb") as source, self.writing(name) as stream:
            shutil.copyfileobj(source, stream, _BUFFER)

    def delete(self, name: str) -> None:
        """Deletes a file."""
        _ours(self.uri, lambda: self._fs.delete_file(self._path(name)))

    def drop(self, below: str) -> None:
        """Deletes a folder and all below it, if it is there."""
        path = self._path(below)
        if self.names(below):
            _ours(self.uri, lambda: self._fs.delete_dir(path))

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}" if name else self._root


def push(folder: Path, place: str, last: str | None = None) -> None:
    """Copies a folder to a URI, its file `last` at the end. A place that is no URI is the folder itself."""
    if not is_remote(place):
        return
    remote = Remote(place)
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    written = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    for name in sorted(written, key=lambda name: name.as_posix() == last):
        remote.put(folder / name, name.as_posix())


def pull(place: str, without: str = "") -> Path:
    """Returns the mirror of a place with every file that is there now, but those below folders called `without`."""
    mirror = mirror_of(place)
    if is_remote(place):
        remote = Remote(place)
        for name in remote.names():
            if without not in name.split("/")[:-1]:
                remote.get(name, mirror / name)
    return mirror


def fetch(place: str | Path, manifest: str) -> Path:
    """Returns a folder of this machine with the content of a complete place.

    A URI is fetched again only when its manifest has changed; each version has a folder of its own, so that whoever
    still reads an older one is not disturbed.

    Raises:
        LocationError: there is nothing complete at the URI.
    """
    if not is_remote(place):
        return Path(place).expanduser()
    remote = Remote(str(place))
    stamp = remote.stamp(manifest)
    if not stamp:
        raise LocationError(
            f"{place} holds nothing complete ({manifest} is missing): check the address, or write it again"
        )
    folder = mirror_of(place) / hashlib.sha256(stamp.encode()).hexdigest()[:16]
    if not (folder / manifest).is_file():
        loading = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        for name in remote.names():
            remote.get(name, loading / name)
        try:
            loading.rename(folder)
        except OSError:  # another process of this machine was faster
            shutil.rmtree(loading)
    return folder


def _ours(uri: str, call: Callable[[], Result]) -> Result:
    try:
        return call()
    except OSError as error:
        raise _place_error(uri, error) from None


def _place_error(uri: str, error: OSError) -> LocationError:
    known = os.environ.get("AWS_ACCESS_KEY_ID") or not uri.startswith("s3")
    return LocationError(f"{uri}: {error}{'' if known else '; AWS_ACCESS_KEY_ID is not set'}")
