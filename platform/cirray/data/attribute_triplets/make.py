"""Reads a catalog and makes triplets of it."""

from __future__ import annotations

from pathlib import Path

from cirray.config.triplets import TripletsConfig
from cirray.console.log import log
from cirray.data.attribute_triplets.write import MadeTriplets, write_triplets
from cirray.data.catalog import read_catalog, with_local_pictures
from cirray.errors import DataError
from cirray.storage.files import cache_folder
from cirray.storage.location import Location


def make_triplets(catalog: str, output: Path, config: TripletsConfig) -> MadeTriplets:
    """Makes triplets of a catalog on this machine; pictures at http(s) addresses are downloaded.

    Raises:
        DataError: the catalog cannot be read, is at a URI, or has no attributes that can be used.
    """
    location = Location.parse(catalog)
    if location.is_remote:
        raise DataError(f"{catalog} is at a URI: copy the catalog and its pictures to a folder first")
    read = read_catalog(catalog, config.catalog)
    log(f"{len(read.entries)} entries in {catalog}")
    for note in read.notes:
        log(f"  {note}")
    read = with_local_pictures(read, config.catalog)
    folder = location.local if location.local.is_dir() else location.local.parent
    folders = {"pictures": folder, "downloads": cache_folder(config.catalog.download.folder, "downloads")}
    settings = config.triplets
    made = write_triplets(
        read.entries, folders, output, settings.count, settings.val_share, settings.exclude, config.seed
    )
    for name, reason in made.usable.left_out.items():
        log(f"  attribute {name} is not used: {reason}")
    return made
