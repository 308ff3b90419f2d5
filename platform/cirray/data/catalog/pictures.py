"""Replaces pictures at http(s) addresses by downloaded files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cirray.config.catalog import CatalogSettings
from cirray.console.log import log
from cirray.data.catalog.entry import Catalog, Entry, WebPicture
from cirray.data.downloads import download_pictures
from cirray.data.records import Problem, with_problems
from cirray.storage.files import cache_folder
from cirray.storage.tree import File

_SHOWN = 20


def with_local_pictures(catalog: Catalog, settings: CatalogSettings) -> Catalog:
    """Downloads the pictures of a catalog that are at http(s) addresses.

    Returns:
        The catalog with files in their place. A picture that cannot be downloaded is left out of its item, and is a
        problem; an item without any other picture is left out.
    """
    urls = [image.url for entry in catalog.entries for image in entry.images if isinstance(image, WebPicture)]
    if not urls:
        return catalog
    folder = cache_folder(settings.download.folder, "downloads")
    done = download_pictures(urls, folder, settings.download, settings.allow_private)
    log(f"{len(done.files):,} pictures are in {folder} ({done.fetched:,} downloaded, {done.confirmed:,} confirmed)")
    if done.unconfirmed:
        log(f"{done.unconfirmed:,} pictures are used as downloaded before, because their servers failed")
    if done.problems:
        count = f"{len(done.problems):,} of {len(done.files) + len(done.problems):,} pictures could not be downloaded"
        log(with_problems(f"{count} and are left out; run the same command again to retry:", done.problems, _SHOWN))
    failures = {problem.where: problem.what for problem in done.problems}
    entries = [_localized(entry, done.files) for entry in catalog.entries]
    problems = [
        Problem(entry.where, f"image {image.url} {failures[image.url]}")
        for entry in catalog.entries
        for image in entry.images
        if isinstance(image, WebPicture) and image.url in failures
    ]
    return Catalog([entry for entry in entries if entry.images], [*catalog.problems, *problems], catalog.notes)


def local_pictures(entry: Entry) -> tuple[File, ...]:
    """Returns the pictures of an entry, the main one first.

    Raises:
        ValueError: one is still at an http(s) address: see `with_local_pictures`.
    """
    remote = [image for image in entry.images if isinstance(image, WebPicture)]
    if remote:
        raise ValueError(f"{remote[0]} is not downloaded")
    return tuple(image for image in entry.images if not isinstance(image, WebPicture))


def _localized(entry: Entry, files: dict[str, Path]) -> Entry:
    images = [files.get(image.url) if isinstance(image, WebPicture) else image for image in entry.images]
    return replace(entry, images=tuple(dict.fromkeys(image for image in images if image is not None)))
