"""Reads JSON files into records with positions; problems are collected, not raised.

A position is "file:line" in a JSON Lines file, "file entry i" (from 0) in a file that is one JSON array, and
"file entry key" in a file that is one JSON object. File names are relative to the dataset's root.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from cirray.data.records import Problem, with_problems
from cirray.storage.location import Location
from cirray.storage.tree import open_tree

_SHOWN = 200


class Record:
    """One JSON object. Accessors that return None for an invalid value note the problem first."""

    def __init__(self, where: str, values: Mapping[str, Any], problems: list[Problem]) -> None:
        self.where = where
        self._values = values
        self._problems = problems

    def note(self, what: str) -> None:
        """Notes a problem of this record."""
        self._problems.append(Problem(self.where, what))

    def has(self, key: str) -> bool:
        """Whether the key exists and is not null."""
        return self._values.get(key) is not None

    def text(self, key: str) -> str | None:
        """Returns the non-empty string under a key."""
        if key not in self._values:
            self.note(f"{key} is missing")
            return None
        value = self._values[key]
        if not isinstance(value, str) or not value.strip():
            self.note(f"{key} must be a non-empty string, not {_short(value)}")
            return None
        return value

    def id(self, key: str) -> str | None:
        """Returns the id under a key: a non-empty string, or an integer as text."""
        value = self._values.get(key)
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else self.text(key)

    def known_id(self, key: str, known: Container[str] | None, listed_in: str, integers: bool = False) -> str | None:
        """Returns the image id under a key; it must be in `known` (unless None), the ids of the file `listed_in`.

        With `integers` an integer is taken as text.
        """
        identifier = self.id(key) if integers else self.text(key)
        if identifier is None or known is None or identifier in known:
            return identifier
        self.note(f"{key} {_short(identifier)} is not in {listed_in}")
        return None

    def known_ids(self, key: str, known: Container[str] | None, listed_in: str) -> tuple[str, ...] | None:
        """Returns the distinct image ids in the list under an optional key; () if it is missing or null.

        Integers are taken as text; `known` and `listed_in` are as in `known_id`.
        """
        value = self._values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.note(f"{key} must be a list of image ids, not {_short(value)}")
            return None
        items = [Record(self.where, {key: item}, self._problems) for item in value]
        ids = [item.known_id(key, known, listed_in, integers=True) for item in items]
        found = tuple(dict.fromkeys(identifier for identifier in ids if identifier is not None))
        return None if None in ids else found

    def texts(self, key: str, single: bool = False) -> tuple[str, ...] | None:
        """Returns the list of one or more strings under a key; strings may be empty. `single` allows a bare string."""
        if key not in self._values:
            self.note(f"{key} is missing")
            return None
        value = self._values[key]
        if single and isinstance(value, str):
            value = [value]
        if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
            self.note(f"{key} must be a list of strings, not {_short(value)}")
            return None
        return tuple(value)

    def record(self, key: str) -> Record | None:
        """Returns the JSON object under a key."""
        if key not in self._values:
            self.note(f"{key} is missing")
            return None
        value = self._values[key]
        if not isinstance(value, dict):
            self.note(f"{key} must be an object, not {_short(value)}")
            return None
        return Record(self.where, value, self._problems)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yields all (key, value) pairs."""
        yield from self._values.items()

    def label(self, key: str) -> str:
        """Returns the string under an optional key; "" if it is missing or not a string."""
        value = self._values.get(key)
        return value if isinstance(value, str) else ""

    def value(self, key: str) -> Any:
        """Returns the raw value under a key; None if it is missing."""
        return self._values.get(key)


class Source:
    """The JSON files of one dataset. An unreadable file is added to `fatal`, and reads as None or without records.

    Args:
        root: the dataset's location.

    Attributes:
        tree: the file tree.
        root: absolute path of the dataset's folder, or of the local mirror of its URI.
        problems: problems of single records.
        fatal: files that are missing or unreadable as a whole.
    """

    def __init__(self, root: Location) -> None:
        self.tree = open_tree(root)
        self.root = self.tree.root
        self.problems: list[Problem] = []
        self.fatal: list[Problem] = []

    def name(self, path: Path) -> str:
        """Returns a file's path relative to the root."""
        return path.relative_to(self.root).as_posix()

    def note(self, where: str, what: str) -> None:
        """Notes a problem of a single record."""
        self.problems.append(Problem(where, what))

    def is_array(self, path: Path) -> bool:
        """Whether a file's text starts with "["."""
        return (self._text(path) or "").lstrip().startswith("[")

    def array(self, path: Path) -> list[tuple[str, Any]] | None:
        """Returns (position, value) of each item of a file that is one JSON array; None if it is not."""
        value = self._document(path)
        if value is None:
            return None
        if not isinstance(value, list):
            self.fatal.append(Problem(self.name(path), f"must be a JSON array, not {_short(value)}"))
            return None
        return [(f"{self.name(path)} entry {i}", item) for i, item in enumerate(value)]

    def table(self, path: Path) -> dict[str, Any] | None:
        """Returns the content of a file that is one JSON object, else None; the first of duplicate keys counts."""
        name = self.name(path)

        def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            values: dict[str, Any] = {}
            for key, value in pairs:
                if key in values:
                    self.note(f"{name} entry {key}", "appears twice")
                values.setdefault(key, value)
            return values

        value = self._document(path, unique)
        if value is not None and not isinstance(value, dict):
            self.fatal.append(Problem(self.name(path), f"must be a JSON object, not {_short(value)}"))
            return None
        return value

    def records(self, path: Path) -> Iterator[Record]:
        """Yields the objects of a file that is one JSON array of objects."""
        for where, value in self.array(path) or []:
            if isinstance(value, dict):
                yield Record(where, value, self.problems)
            else:
                self.note(where, f"must be a JSON object, not {_short(value)}")

    def lines(self, path: Path) -> Iterator[Record]:
        """Yields the objects of a JSON Lines file; blank lines are skipped."""
        for number, line in enumerate((self._text(path) or "").split("\n"), start=1):
            if not line.strip():
                continue
            where = f"{self.name(path)}:{number}"
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                self.note(where, f"not JSON: {error.msg} at column {error.colno}")
                continue
            except (RecursionError, ValueError) as error:  # nested too deeply, or a number with too many digits
                self.note(where, f"not usable JSON: {error}")
                continue
            if isinstance(value, dict):
                yield Record(where, value, self.problems)
            else:
                self.note(where, f"must be a JSON object, not {_short(value)}")

    def _document(self, path: Path, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
        text = self._text(path)
        if text is None:
            return None
        name = self.name(path)

        try:
            value = json.loads(text, object_pairs_hook=pairs_hook)
        except json.JSONDecodeError as error:
            where = f"{name}:{error.lineno}"
            self.fatal.append(Problem(where, f"not JSON: {error.msg} at column {error.colno}"))
            return None
        except (RecursionError, ValueError) as error:
            self.fatal.append(Problem(name, f"not usable JSON: {error}"))
            return None
        if value is None:
            self.fatal.append(Problem(name, "contains only null"))
        return value

    def _text(self, path: Path) -> str | None:
        try:
            # utf-8-sig: editors on Windows write a byte order mark.
            return self.tree.local(path).read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            problem = Problem(self.name(path), f"the file is missing ({self.tree.where(path)})")
        except UnicodeDecodeError as error:
            problem = Problem(self.name(path), f"not UTF-8: {error.reason} at byte {error.start}")
        except OSError as error:
            problem = Problem(self.name(path), f"cannot be read: {error.strerror}")
        if problem not in self.fatal:  # `is_array` and the reader both read the file
            self.fatal.append(problem)
        return None


def leaves_root(path: str) -> bool:
    """Whether a path from an annotation file is absolute or contains "..".

    Symbolic links may leave the root: picture folders are often links to a larger disk.
    """
    return PurePath(path).is_absolute() or ".." in PurePosixPath(path.replace("\\", "/")).parts


def problem_report(where: str, problems: Sequence[Problem], remedy: str) -> str:
    """Returns an error message with the problems of the files in `where`."""
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return with_problems(f"{count} in {where} (lines are counted from 1, entries from 0): {remedy}", problems, _SHOWN)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
