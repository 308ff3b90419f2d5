"""Reads a catalog, makes triplets of it, and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cirray.config.triplets import TripletsConfig
from cirray.console.log import log
from cirray.data.catalog import Entry, local_pictures, read_catalog, with_local_pictures
from cirray.data.made_triplets.duplicates import Thumbnail, read_thumbnails
from cirray.data.made_triplets.splits import MadeTriplets, make_splits
from cirray.data.made_triplets.write import linked_paths, write_triplets
from cirray.data.records import Problem, with_problems
from cirray.errors import DataError
from cirray.storage.files import cache_folder
from cirray.storage.location import Location
from cirray.storage.tree import File

_MOST_SHOWN = 20


def make_triplets(catalog: str, output: Path, config: TripletsConfig) -> MadeTriplets:
    """Makes triplets of a catalog on this machine; pictures at http(s) addresses are downloaded.

    Items whose main picture cannot be read are left out and reported.

    Raises:
        ConfigError: `triplets.where` or `triplets.exclude` names an attribute or value that no item has.
        DataError: the catalog cannot be read, is at a URI, has no readable picture, or no triplets can be made.
    """
    location = Location.parse(catalog)
    if location.is_remote:
        raise DataError(f"{catalog} is at a URI: copy the catalog and its pictures to a folder first")
    read = read_catalog(catalog, config.catalog)
    log(f"{len(read.entries)} entries in {catalog}")
    for note in read.notes:
        log(f"  {note}")
    read = with_local_pictures(read, config.catalog)
    if read.problems:
        log(with_problems(f"{len(read.problems)} problems in {catalog}:", read.problems, _MOST_SHOWN))
    folder = location.local if location.local.is_dir() else location.local.parent
    folders = {"pictures": folder, "downloads": cache_folder(config.catalog.download.folder, "downloads")}
    linked_paths([_main_picture(entry) for entry in read.entries], folders)  # fails before the pictures are read
    entries, thumbnails = _readable(read.entries, catalog)

    def nearly_identical(one: Entry, other: Entry) -> bool:
        return thumbnails[_main_picture(one)].is_nearly(thumbnails[_main_picture(other)])

    made = make_splits(entries, config.triplets, config.seed, nearly_identical)
    write_triplets(made, entries, linked_paths([_main_picture(entry) for entry in entries], folders), folders, output)
    for name, reason in made.left_out.items():
        log(f"  {name} is not used: {reason}")
    log(f"{made.identical} pairs were left out, as their pictures are nearly identical")
    return made


def _main_picture(entry: Entry) -> File:
    return local_pictures(entry)[0]


def _readable(entries: list[Entry], catalog: str) -> tuple[list[Entry], Mapping[File, Thumbnail]]:
    """Returns the items whose main picture can be read, and the thumbnails; logs the others."""
    thumbnails, failures = read_thumbnails([_main_picture(entry) for entry in entries])
    problems = [
        Problem(entry.where, f"{picture}: {failures[picture]}")
        for entry in entries
        if (picture := _main_picture(entry)) in failures
    ]
    left = [entry for entry in entries if _main_picture(entry) in thumbnails]
    if problems:
        report = with_problems(
            f"{len(problems)} of {len(entries)} items of {catalog} are left out, as their picture cannot be read:",
            problems,
            _MOST_SHOWN,
        )
        if not left:
            raise DataError(report)
        log(report)
    return left, thumbnails
