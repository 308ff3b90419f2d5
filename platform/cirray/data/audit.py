"""Checks every picture before work starts, so that a broken one does not stop it hours later.

A good file is remembered by its path, size and modification time: a second check of the same files reads none
of them.
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

from cirray.bars import bar
from cirray.data.pictures import Background, PictureError, decode_rgb, read_bytes
from cirray.data.triplets import Problem
from cirray.files import replacing

CACHE_NAME = "pictures.json"
SAVE_EVERY_S = 60.0
_CHUNK = 2048

# absolute path -> (bytes, modification time in ns, SHA-256)
_Known = dict[str, tuple[int, int, str]]


def audit_pictures(
    images: Mapping[str, Path], sources: Mapping[str, str], cache: Path, background: Background
) -> tuple[dict[str, str], list[Problem]]:
    """Decodes every picture completely and hashes its bytes.

    Args:
        images: id -> picture file.
        sources: id -> where it is listed.
        cache: folder in which good files are remembered (made if needed).
        background: what transparent pictures are laid on.

    Returns:
        (contents, problems): SHA-256 (hex) of each good picture by id; and one problem for each other id, in
        the order of `images`, with the place where it is listed.
    """
    file = cache / CACHE_NAME
    known = _load(file)
    files = {path: os.fspath(path.absolute()) for path in images.values()}
    good = {path: known[key][2] for path, key in files.items() if key in known and known[key][:2] == _stamp(path)}
    to_check = [path for path in files if path not in good]
    wrong: dict[Path, str] = {}
    if to_check:
        good.update(_check_all(to_check, background, file, wrong))
    contents = {identifier: good[path] for identifier, path in images.items() if path in good}
    problems = [
        Problem(sources[identifier], f"picture of {identifier!r}: {path}: {wrong[path]}")
        for identifier, path in images.items()
        if path in wrong
    ]
    return contents, problems


def _check_all(paths: list[Path], background: Background, file: Path, wrong: dict[Path, str]) -> dict[Path, str]:
    """Returns the SHA-256 of the good files of `paths`, and fills `wrong` with what is wrong with the others.

    What was found is kept now and then, and when it is interrupted: a check of very many files survives a kill.
    """

    def check(path: Path) -> tuple[int, int, str] | str:
        try:
            stamp = _stamp(path)  # before reading: a later change then shows in the next check
            content = read_bytes(path)
            decode_rgb(content, str(path), background)
        except PictureError as error:
            return error.what
        return (*stamp, hashlib.sha256(content).hexdigest()) if stamp else "changed while it was read"

    good: dict[Path, str] = {}
    fresh: _Known = {}
    saved = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as pool, bar(len(paths), "checking pictures", "files") as shown:
        try:
            for start in range(0, len(paths), _CHUNK):
                chunk = paths[start : start + _CHUNK]  # not all at once: each waiting file costs memory
                for path, result in zip(chunk, pool.map(check, chunk), strict=True):
                    shown.update()
                    if isinstance(result, str):
                        wrong[path] = result
                    else:
                        good[path] = result[2]
                        fresh[os.fspath(path.absolute())] = result
                if time.monotonic() - saved > SAVE_EVERY_S:
                    _save(file, fresh)
                    saved = time.monotonic()
        finally:
            _save(file, fresh)
    return good


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return status.st_size, status.st_mtime_ns


def _load(file: Path) -> _Known:
    """Returns the good files known so far; {} if the cache is missing, damaged or of another Pillow."""
    try:
        value = json.loads(file.read_bytes())
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


def _save(file: Path, fresh: _Known) -> None:
    """Adds to the cache. Of two processes at once each writes a complete file; one may forget the other's."""
    files = {**_load(file), **fresh}  # read again: another process may have added to it meanwhile
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8") as stream:
        json.dump({"pillow": PIL.__version__, "files": files}, stream)
