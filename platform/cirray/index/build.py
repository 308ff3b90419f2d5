"""The indexing job: from a catalog to a published generation.

read catalog -> audit pictures -> compute missing features -> diff -> upload -> verify -> publish

Every step is idempotent: run the same command again to resume after an interruption. Features are stored as they are
computed, point ids derive from item ids, and a generation is published only after verification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cirray.cluster.device import use_gpu
from cirray.cluster.session import connect
from cirray.config.indexing import IndexConfig
from cirray.console.bars import bar
from cirray.console.log import log
from cirray.data.attributes import Attribute
from cirray.data.audit import audit_pictures
from cirray.data.catalog import describe_attributes, local_pictures, read_catalog, with_local_pictures
from cirray.data.records import Problem, with_problems
from cirray.errors import BundleError, ConfigError, DataError, SearchIndexError
from cirray.features.ensure import Embedder
from cirray.features.store import FeatureStore
from cirray.index import open_backend
from cirray.index.backend import Generation, IndexBackend, new_name, same_build
from cirray.index.items import Item, Picture
from cirray.index.verify import verify
from cirray.models.bundle_manifest import MANIFEST, read_bundle
from cirray.models.encoder_manifest import read_manifest
from cirray.storage.location import Location
from cirray.storage.provenance import provenance

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Change:
    """Difference between a catalog and a generation: ids added, changed and removed."""

    added: list[str]
    changed: list[str]
    removed: list[str]


def build_index(bundle: Path | str, catalog: Path | str, config: IndexConfig) -> dict[str, Any]:
    """Indexes a catalog with a bundle's image tower and publishes the result. Both may be at a URI.

    Returns:
        The JSON report: counts of changed items, and every invalid entry.

    Raises:
        BundleError, DataError, ConfigError: the bundle, catalog or configuration is invalid.
        SearchIndexError: the index cannot be reached, or failed verification and was not published.
    """
    folder = Location.parse(bundle).fetch(MANIFEST).resolve()  # a symbolic link may be moved during the run
    manifest = read_bundle(folder)
    backend = open_backend(config.index)
    with backend.lock():
        return _build(backend, folder, manifest, catalog, config)


def _build(
    backend: IndexBackend, bundle: Path, manifest: Mapping[str, Any], catalog: Path | str, config: IndexConfig
) -> dict[str, Any]:
    items, bad, attributes = _read(catalog, manifest["preprocess"]["background"], config)
    plan = _plan(manifest, items, attributes, config)
    wanted = {item.id: item.digest() for item in items}
    published = backend.published()
    present = _digests(backend, published) if published else {}
    change = difference(wanted, present)
    generation, embedded = _find_identical(backend, plan, wanted, {published: present}), 0
    if generation is None:
        images, embedded = _features(items, bundle / "encoder", plan.image_fingerprint, config)
        generation = _fill(backend, plan, items, wanted, images, config)
    if generation.name != published:
        _verify(backend, generation, wanted, config.index.self_queries)
        backend.publish(generation.name)
    dropped = backend.collect(config.index.keep)
    log(_summary(backend, generation, published, change, bad))
    return {
        "index": backend.where,
        "generation": generation.name,
        "replaces": published,
        "items": len(items),
        "added": len(change.added),
        "changed": len(change.changed),
        "removed": len(change.removed),
        "unchanged": len(items) - len(change.added) - len(change.changed),
        "embedded": embedded,
        "deleted_generations": dropped,
        "bad": [{"where": problem.where, "what": problem.what} for problem in bad],
        "bundle": str(bundle),
        "image_fingerprint": plan.image_fingerprint,
        "provenance": provenance(),
    }


def difference(wanted: Mapping[str, str], present: Mapping[str, str]) -> Change:
    """Compares id -> digest of a catalog (`wanted`) with that of a generation (`present`)."""
    return Change(
        added=[identifier for identifier in wanted if identifier not in present],
        changed=[
            identifier for identifier in wanted if present.get(identifier, wanted[identifier]) != wanted[identifier]
        ],
        removed=[identifier for identifier in present if identifier not in wanted],
    )


def _read(
    catalog: Path | str, background: Any, config: IndexConfig
) -> tuple[list[Item], list[Problem], list[Attribute]]:
    """Returns the valid items, the problems of the other entries, and the attribute summaries."""
    rows = read_catalog(catalog, config.catalog)
    log(f"{len(rows.entries)} entries in {catalog}")
    for note in rows.notes:
        log(f"  {note}")
    read = with_local_pictures(rows, config.catalog)
    pictures = {
        _picture_name(entry.id, number): (file, entry)
        for entry in read.entries
        for number, file in enumerate(local_pictures(entry))
    }
    files = {name: file for name, (file, _) in pictures.items()}
    sources = {name: entry.where for name, (_, entry) in pictures.items()}
    contents, broken = audit_pictures(files, sources, Location.configured(config.store, "store"), background)
    valid: dict[str, list[Picture]] = {entry.id: [] for entry in read.entries}
    for name, (file, entry) in pictures.items():
        if name in contents:
            valid[entry.id].append(Picture(str(file), contents[name]))
    good = [entry for entry in read.entries if valid[entry.id]]
    bad = [*read.problems, *broken]
    unusable, total = len(rows.problems) + len(rows.entries) - len(good), len(rows.entries) + len(rows.problems)
    _check_bad_share(catalog, bad, unusable, total, config.index.max_bad)
    items = [
        Item(entry.id, main.image, main.content, entry.title, entry.attributes, entry.group, tuple(more))
        for entry in good
        for main, *more in [valid[entry.id]]
    ]
    return items, bad, describe_attributes(good)


def _picture_name(identifier: str, number: int) -> str:
    """Returns the name of a picture in the audit: that of the main one is the id. Ids have no control characters."""
    return f"{identifier}\npicture {number + 1}" if number else identifier


def _check_bad_share(catalog: Path | str, bad: Sequence[Problem], unusable: int, total: int, most: float) -> None:
    if unusable == total or unusable > most * total:
        head = (
            f"{unusable} of {total} entries of {catalog} cannot be used, more than max_bad allows ({most:.0%}): "
            f"correct them, or allow more with --max-bad 0.5"
        )
        raise DataError(with_problems(head, bad, _SHOWN))


def _plan(
    manifest: Mapping[str, Any], items: Sequence[Item], attributes: list[Attribute], config: IndexConfig
) -> Generation:
    known = [attribute.name for attribute in attributes]
    indexed = known if config.index.filters is None else list(config.index.filters)
    unknown = [name for name in indexed if name not in known]
    if unknown:
        raise ConfigError(
            f"index.filters names {', '.join(unknown)}, which no catalog entry has; there are: "
            f"{', '.join(known) or 'none'}"
        )
    return Generation(
        name=new_name(),
        image_fingerprint=manifest["image_fingerprint"],
        dim=manifest["dim"],
        settings=config.index.shape(),
        grouped=any(item.group or item.more for item in items),
        attributes=attributes,
        indexed=indexed,
    )


def _find_identical(
    backend: IndexBackend, plan: Generation, wanted: Mapping[str, str], known: Mapping[str | None, Mapping[str, str]]
) -> Generation | None:
    """Returns a complete generation with exactly the wanted items, preferably the published one; None if there is none.

    Args:
        wanted: id -> digest of the catalog.
        known: name of the published generation -> its digests.
    """
    candidates = [generation for generation in backend.generations() if same_build(generation, plan)]
    candidates.sort(key=lambda generation: (generation.name in known, generation.name), reverse=True)
    for generation in candidates:
        name = generation.name
        if generation.count == len(wanted) and (known[name] if name in known else _digests(backend, name)) == wanted:
            return generation
    return None


def _digests(backend: IndexBackend, name: str) -> dict[str, str]:
    reader = backend.open(name)
    try:
        return reader.digests()
    finally:
        reader.close()


def _features(items: Sequence[Item], encoder: Path, fingerprint: str, config: IndexConfig) -> tuple[FeatureStore, int]:
    """Computes missing features; returns the store and their number. Starts Ray only for many pictures or a GPU."""
    pictures = {picture.content: picture.image for item in items for picture in item.pictures}
    store = Location.configured(config.store, "store")
    missing = len(FeatureStore(store, "image", fingerprint).missing(list(pictures)))
    distributed = missing > config.embed.inline_pictures or (missing and config.compute.device == "cuda")
    if distributed:
        connect(config.workers)
    gpu = use_gpu(config.compute, config.workers) if distributed else False
    images = Embedder(Location.parse(encoder), store, config.embed, config.workers, gpu).images(pictures)
    if read_manifest(encoder)["image_fingerprint"] != fingerprint or images.fingerprint != fingerprint:
        raise BundleError(f"{encoder.parent} was replaced while its features were computed: run the same command again")
    return images, missing


def _fill(
    backend: IndexBackend,
    plan: Generation,
    items: Sequence[Item],
    wanted: Mapping[str, str],
    images: FeatureStore,
    config: IndexConfig,
) -> Generation:
    """Builds a complete generation; uploads only new and changed items."""
    writer = backend.create(plan)
    try:
        missing = difference(wanted, writer.state())
        upload = {*missing.added, *missing.changed}
        pending = [item for item in items if item.id in upload]
        with bar(len(pending), "uploading", "items") as shown:
            for start in range(0, len(pending), config.index.batch):
                batch = pending[start : start + config.index.batch]
                contents = [picture.content for item in batch for picture in item.pictures]
                writer.upload(batch, images.read(contents).numpy().astype(np.float32))
                shown.update(len(batch))
        if missing.removed:
            writer.remove(missing.removed)
        log("building the graph and the payload indexes")
        return writer.finish(provenance())
    finally:
        writer.close()


def _verify(backend: IndexBackend, generation: Generation, wanted: Mapping[str, str], sample: int) -> None:
    """Verifies a generation; deletes it on failure, so that the next run builds a new one."""
    log(f"verifying generation {generation.name}: item count and {sample} self-queries")
    try:
        verify(backend.open(generation.name), wanted, sample)
    except SearchIndexError:
        backend.discard(generation.name)
        raise


def _summary(
    backend: IndexBackend, generation: Generation, published: str | None, change: Change, bad: Sequence[Problem]
) -> str:
    unusable = f"; {len(bad)} entries were unusable and are listed in the report" if bad else ""
    if generation.name == published:
        return f"{backend.where}: generation {generation.name} already holds this catalog{unusable}"
    return (
        f"{backend.where}: generation {generation.name} is published with {generation.count} items "
        f"({len(change.added)} added, {len(change.changed)} changed, {len(change.removed)} removed){unusable}"
    )
