"""Decodes every picture up front, so that a broken file fails the run at its start and not hours later.

Valid files are cached by path or URI, size and modification time, and are not read again while these stay the same. The
cache is kept with the feature store; a store at a URI shares it between machines.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import PIL

from cirray.console.bars import bar
from cirray.data.images import (
    Background,
    Picture,
    PictureError,
    RemotePicture,
    decode_rgb,
    read_bytes,
    reading_threads,
)
from cirray.data.records import Problem
from cirray.storage.files import write_text
from cirray.storage.location import Remote, Stamp, is_remote

CACHE_NAME = "pictures.json"
SAVE_EVERY_S = 60.0
_CHUNK = 2048

# absolute path or URI -> (bytes, modification time in ns, SHA-256)
_Cache = dict[str, tuple[int, int, str]]


def audit_pictures(
    images: Mapping[str, Picture], sources: Mapping[str, str], cache: Path | str, background: Background
) -> tuple[dict[str, str], list[Problem]]:
    """Decodes every picture completely and hashes its bytes.

    Args:
        images: id -> picture file.
        sources: id -> where the id is listed, such as "catalog.jsonl:12".
        cache: folder or URI of the cache of valid files; created if missing.
        background: colour behind transparent pixels.

    Returns:
        (contents, problems): SHA-256 (hex) of each valid picture by id; and one problem for each other id, in
        the order of `images`, located at its entry of `sources`.

    Raises:
        LocationError: a URI cannot be reached.
    """
    cached = _load(cache)
    files = {path: _key(path) for path in images.values()}
    good = {path: cached[key][2] for path, key in files.items() if key in cached and cached[key][:2] == _stamp(path)}
    to_check = [path for path in files if path not in good]
    failures: dict[Picture, str] = {}
    if to_check:
        good.update(_audit(to_check, background, cache, failures))
    contents = {identifier: good[path] for identifier, path in images.items() if path in good}
    problems = [
        Problem(sources[identifier], f"picture of {identifier!r}: {path}: {failures[path]}")
        for identifier, path in images.items()
        if path in failures
    ]
    return contents, problems


def _audit(
    paths: list[Picture], background: Background, cache: Path | str, failures: dict[Picture, str]
) -> dict[Picture, str]:
    """Returns the SHA-256 of the valid files of `paths`, and adds an error text for each other file to `failures`.

    The cache is saved every `SAVE_EVERY_S` seconds and on exit, so an interrupted audit continues where it stopped.
    """

    def check(path: Picture) -> tuple[int, int, str] | str:
        try:
            stamp = _stamp(path)  # before reading, so that a change during the read invalidates the entry
            content = read_bytes(path)
            decode_rgb(content, str(path), background)
        except PictureError as error:
            return error.what
        return (*stamp, hashlib.sha256(content).hexdigest()) if stamp else "changed while it was read"

    good: dict[Picture, str] = {}
    fresh: _Cache = {}
    saved = time.monotonic()
    threads = reading_threads(paths, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool, bar(len(paths), "checking pictures", "files") as shown:
        try:
            for start in range(0, len(paths), _CHUNK):
                chunk = paths[start : start + _CHUNK]  # in chunks: every queued file costs memory
                for path, result in zip(chunk, pool.map(check, chunk), strict=True):
                    shown.update()
                    if isinstance(result, str):
                        failures[path] = result
                    else:
                        good[path] = result[2]
                        fresh[_key(path)] = result
                if time.monotonic() - saved > SAVE_EVERY_S:
                    _save(cache, fresh)
                    saved = time.monotonic()
        finally:
            _save(cache, fresh)
    return good


def _key(path: Picture) -> str:
    return str(path) if isinstance(path, RemotePicture) else os.fspath(path.absolute())


def _stamp(path: Picture) -> Stamp | None:
    if isinstance(path, RemotePicture):
        return path.stamp
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return status.st_size, status.st_mtime_ns


def _load(cache: Path | str) -> _Cache:
    """Returns the cached valid files; {} if the cache is missing, damaged or written with another Pillow version."""
    try:
        value = json.loads(_content(cache))
        if value["pillow"] != PIL.__version__:  # other Pillow versions decode other files
            return {}
        return {str(path): _entry(entry) for path, entry in value["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _entry(entry: Any) -> tuple[int, int, str]:
    size, modified, digest = entry
    if not (isinstance(size, int) and isinstance(modified, int) and isinstance(digest, str) and len(digest) == 64):
        raise ValueError("damaged entry")
    return size, modified, digest


def _content(cache: Path | str) -> bytes:
    if is_remote(cache):
        return Remote(str(cache)).read(CACHE_NAME) or b""
    return (Path(cache) / CACHE_NAME).read_bytes()


def _save(cache: Path | str, fresh: _Cache) -> None:
    """Adds entries to the cache. Writes are atomic; of two concurrent writers the last one wins."""
    files = {**_load(cache), **fresh}  # re-read: another process may have added entries
    content = json.dumps({"pillow": PIL.__version__, "files": files})
    if is_remote(cache):
        Remote(str(cache)).write(CACHE_NAME, content.encode())
    else:
        write_text(Path(cache) / CACHE_NAME, content)
