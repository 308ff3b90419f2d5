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
from typing import Any

import PIL

from cirray.console.bars import bar
from cirray.data.images import Background, PictureError, decode_rgb, read_bytes, reading_threads
from cirray.data.records import Problem
from cirray.storage.location import Location
from cirray.storage.tree import File, RemoteFile, file_stamp

CACHE_NAME = "pictures.json"
SAVE_EVERY_S = 60.0
_CHUNK = 2048

# absolute path or URI -> (bytes, modification time in ns, SHA-256)
_Cache = dict[str, tuple[int, int, str]]


def audit_pictures(
    images: Mapping[str, File], sources: Mapping[str, str], cache: Location, background: Background
) -> tuple[dict[str, str], list[Problem]]:
    """Decodes every picture completely and hashes its bytes.

    Args:
        images: id -> picture file.
        sources: id -> where the id is listed, such as "catalog.jsonl:12".
        cache: location of the cache of valid files; created if missing.
        background: colour behind transparent pixels.

    Returns:
        (contents, problems): SHA-256 (hex) of each valid picture by id; and one problem for each other id, in
        the order of `images`, located at its entry of `sources`.

    Raises:
        LocationError: a URI cannot be reached.
    """
    cached = _load(cache)
    files = {path: _key(path) for path in images.values()}
    good = {
        path: cached[key][2] for path, key in files.items() if key in cached and cached[key][:2] == file_stamp(path)
    }
    to_check = [path for path in files if path not in good]
    failures: dict[File, str] = {}
    if to_check:
        good.update(_audit(to_check, background, cache, failures))
    contents = {identifier: good[path] for identifier, path in images.items() if path in good}
    problems = [
        Problem(sources[identifier], f"picture of {identifier!r}: {path}: {failures[path]}")
        for identifier, path in images.items()
        if path in failures
    ]
    return contents, problems


def _audit(paths: list[File], background: Background, cache: Location, failures: dict[File, str]) -> dict[File, str]:
    """Returns the SHA-256 of the valid files of `paths`, and adds an error text for each other file to `failures`.

    The cache is saved every `SAVE_EVERY_S` seconds and on exit, so an interrupted audit continues where it stopped.
    """

    def check(path: File) -> tuple[int, int, str] | str:
        try:
            stamp = file_stamp(path)  # before reading, so that a change during the read invalidates the entry
            content = read_bytes(path)
            decode_rgb(content, str(path), background)
        except PictureError as error:
            return error.what
        return (*stamp, hashlib.sha256(content).hexdigest()) if stamp else "changed while it was read"

    good: dict[File, str] = {}
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


def _key(path: File) -> str:
    return str(path) if isinstance(path, RemoteFile) else os.fspath(path.absolute())


def _load(cache: Location) -> _Cache:
    """Returns the cached valid files; {} if the cache is missing, damaged or written with another Pillow version."""
    try:
        value = json.loads(cache.read(CACHE_NAME) or b"")
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


def _save(cache: Location, fresh: _Cache) -> None:
    """Adds entries to the cache. Writes are atomic; of two concurrent writers the last one wins."""
    files = {**_load(cache), **fresh}  # re-read: another process may have added entries
    cache.write(CACHE_NAME, json.dumps({"pillow": PIL.__version__, "files": files}).encode())
