"""Files at a URI that pyarrow supports (s3://, gs://). Most callers use `Location` instead.

Credentials and endpoints come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pyarrow import fs

from cirray.errors import LocationError
from cirray.storage.files import replacing

# Size in bytes and modification time in ns, which change when a file is rewritten. Object stores report whole seconds.
Stamp = tuple[int, int]
# Stream buffer in bytes; each refill while reading is one request.
_BUFFER = 8 * 2**20


class Remote:
    """The files below a URI, named by their paths relative to it. The name "" is the URI itself, if it is a file.

    Raises:
        LocationError: pyarrow does not support the URI; from any method: it cannot be reached.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        scheme, _, rest = self.uri.partition("://")
        bucket, _, path = rest.partition("/")  # the path is not percent-decoded: object names may contain %
        try:
            self._fs, root = fs.FileSystem.from_uri(f"{scheme}://{bucket}/")
        except (OSError, ValueError) as error:
            supported = "s3://BUCKET/PATH, gs://BUCKET/PATH, or a folder"
            raise LocationError(f"{uri} cannot be used: {error}; give {supported}") from None
        self._root = f"{root.rstrip('/')}/{path}" if path else root

    def names(self, below: str = "") -> dict[str, int]:
        """Returns the files below a folder with their sizes in bytes."""
        return {name: size for name, (size, _) in self.stamps(below).items()}

    def stamps(self, below: str = "") -> dict[str, Stamp]:
        """Returns the files below a folder with their stamps."""
        selector = fs.FileSelector(self._path(below), recursive=True, allow_not_found=True)
        with _location_errors(self.uri):
            infos = self._fs.get_file_info(selector)
        start = len(self._root.rstrip("/")) + 1
        return {info.path[start:]: (info.size, info.mtime_ns) for info in infos if info.type == fs.FileType.File}

    def stamp(self, name: str) -> Stamp | None:
        """Returns the stamp of a file; None if it does not exist."""
        with _location_errors(self.uri):
            info = self._fs.get_file_info(self._path(name))
        return (info.size, info.mtime_ns) if info.type == fs.FileType.File else None

    def read(self, name: str) -> bytes | None:
        """Returns the content of a file; None if it does not exist."""
        with _location_errors(self.uri):
            try:
                with self._fs.open_input_stream(self._path(name)) as stream:
                    content: bytes = stream.read()
                    return content
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Writes a file atomically."""
        with self.writing(name) as stream:
            stream.write(content)

    @contextmanager
    def reading(self, name: str) -> Iterator[IO[bytes]]:
        """Opens a file as a sequential stream."""
        with (
            _location_errors(self._uri_of(name)),
            self._fs.open_input_stream(self._path(name), buffer_size=_BUFFER) as stream,
        ):
            yield stream

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Opens a file for writing. An error may leave a partial file, so write a manifest afterwards."""
        with _location_errors(self._uri_of(name)), self._fs.open_output_stream(self._path(name)) as stream:
            yield stream

    def get(self, name: str, to: Path) -> None:
        """Downloads a file to the path `to`, atomically."""
        with replacing(to) as temporary, _location_errors(self.uri):
            fs.copy_files(self._path(name), str(temporary), self._fs, fs.LocalFileSystem())

    def put(self, file: Path, name: str) -> None:
        """Uploads a file, atomically."""
        # Not pyarrow's copy_files, which ignores errors that the store reports on close.
        with file.open("rb") as source, self.writing(name) as stream:
            shutil.copyfileobj(source, stream, _BUFFER)

    def delete(self, name: str) -> None:
        """Deletes a file."""
        with _location_errors(self.uri):
            self._fs.delete_file(self._path(name))

    def drop(self, below: str) -> None:
        """Deletes a folder with its content, if it exists."""
        if self.names(below):
            with _location_errors(self.uri):
                self._fs.delete_dir(self._path(below))

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}" if name else self._root

    def _uri_of(self, name: str) -> str:
        return f"{self.uri}/{name}" if name else self.uri


@contextmanager
def _location_errors(uri: str) -> Iterator[None]:
    """Converts pyarrow's errors to LocationError."""
    try:
        yield
    except OSError as error:
        has_key = os.environ.get("AWS_ACCESS_KEY_ID") or not uri.startswith("s3")
        hint = "" if has_key else "; AWS_ACCESS_KEY_ID is not set"
        raise LocationError(f"{uri}: {error}{hint}") from None
