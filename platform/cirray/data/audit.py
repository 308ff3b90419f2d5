"""Checks every picture before work starts, so that a broken one does not stop it hours later.

A good file is remembered by its path or URI, size and modification time: a second check of the same files reads none
of them. With a feature store at a URI this is remembered there: a second machine reads none of them either.
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
_Known = dict[str, tuple[int, int, str]]


def audit_pictures(
    images: Mapping[str, File], sources: Mapping[str, str], cache: Location, background: Background
) -> tuple[dict[str, str], list[Problem]]:
    """Decodes every picture completely and hashes its bytes.

    Args:
        images: id -> picture file.
        sources: id -> where it is listed.
        cache: where good files are remembered; created if needed.
        background: what transparent pictures are laid on.

    Returns:
        (contents, problems): SHA-256 (hex) of each good picture by id; and one problem for each other id, in
        the order of `images`, with the file and line that list it.

    Raises:
        LocationError: a URI cannot be reached.
    """
    known = _load(cache)
    files = {path: _key(path) for path in images.values()}
    good = {path: known[key][2] for path, key in files.items() if key in known and known[key][:2] == file_stamp(path)}
    to_check = [path for path in files if path not in good]
    wrong: dict[File, str] = {}
    if to_check:
        good.update(_check_all(to_check, background, cache, wrong))
    contents = {identifier: good[path] for identifier, path in images.items() if path in good}
    problems = [
        Problem(sources[identifier], f"picture of {identifier!r}: {path}: {wrong[path]}")
        for identifier, path in images.items()
        if path in wrong
    ]
    return contents, problems


def _check_all(paths: list[File], background: Background, cache: Location, wrong: dict[File, str]) -> dict[File, str]:
    """Returns the SHA-256 of the good files of `paths`, and fills `wrong` with what is wrong with the others.

    What was found is kept now and then, and when it is interrupted: a check of very many files survives a kill.
    """

    def check(path: File) -> tuple[int, int, str] | str:
        try:
            stamp = file_stamp(path)  # before reading: a later change then shows in the next check
            content = read_bytes(path)
            decode_rgb(content, str(path), background)
        except PictureError as error:
            return error.what
        return (*stamp, hashlib.sha256(content).hexdigest()) if stamp else "changed while it was read"

    good: dict[File, str] = {}
    fresh: _Known = {}
    saved = time.monotonic()
    threads = reading_threads(paths, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool, bar(len(paths), "checking pictures", "files") as shown:
        try:
            for start in range(0, len(paths), _CHUNK):
                chunk = paths[start : start + _CHUNK]  # not all at once: each waiting file costs memory
                for path, result in zip(chunk, pool.map(check, chunk), strict=True):
                    shown.update()
                    if isinstance(result, str):
                        wrong[path] = result
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


def _load(cache: Location) -> _Known:
    """Returns the good files known so far; {} if the cache is missing, damaged or of another Pillow."""
    try:
        value = json.loads(cache.read(CACHE_NAME) or b"")
        if value["pillow"] != PIL.__version__:  # another Pillow may not read what this one does
            return {}
        return {str(path): _entry(entry) for path, entry in value["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _entry(entry: Any) -> tuple[int, int, str]:
    size, modified, digest = entry
    if not (isinstance(size, int) and isinstance(modified, int) and isinstance(digest, str) and len(digest) == 64):
        raise ValueError("damaged entry")
    return size, modified, digest


def _save(cache: Location, fresh: _Known) -> None:
    """Adds to the cache. Of two processes at once each writes a complete file; one may forget the other's."""
    files = {**_load(cache), **fresh}  # read again: another process may have added to it meanwhile
    cache.write(CACHE_NAME, json.dumps({"pillow": PIL.__version__, "files": files}).encode())
