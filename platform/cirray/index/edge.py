"""The embedded backend: Qdrant's engine in this process, a generation a folder.

INDEX/
├── published.json            which generation is searched; replaced atomically
├── writer.lock               held by the one job that writes
└── generations/NAME/
    ├── shard/                Qdrant Edge's files
    └── generation.json       the manifest, written last: it exists means complete

Generations are written without a log, so a crash may leave half a shard: an unfinished one is thrown away, and the next
begins with a copy of the published one. Complete ones never change, so any number of processes may search them. All of
them must be allowed to write there, though: the engine opens its files so, and writes some again just as they were.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import qdrant_edge as edge
from pydantic import ValidationError

from cirray.errors import SearchIndexError
from cirray.index.backend import Generation, same_build
from cirray.index.items import Item, point_id, unit_rows
from cirray.index.reader import GenerationHistory, PointReader, digests
from cirray.index.translate import FilterTypes
from cirray.storage.archive import TEMPORARY
from cirray.storage.files import write_json

MANIFEST = "generation.json"
POINTER = "published.json"
SHARD = "shard"
GENERATIONS = "generations"
# The engine makes such folders when a reader starts or ends, and removes them at once.
_TEMPORARY = shutil.ignore_patterns(f"{TEMPORARY}*")


def _match_value(value: Any) -> edge.MatchValue:
    """Edge takes a Python bool for an integer, which no bool equals; NumPy's it takes for what it is."""
    same: Any = np.bool_(value) if isinstance(value, bool) else value
    return edge.MatchValue(same)


_FILTER_TYPES = FilterTypes(
    filter=edge.Filter,
    field=edge.FieldCondition,
    range=edge.RangeFloat,
    has_id=lambda ids: edge.HasIdCondition(set(ids)),
    value=_match_value,
    any_of=edge.MatchAny,
)
_KINDS = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "number": edge.PayloadSchemaType.Float,
    "bool": edge.PayloadSchemaType.Bool,
}


class EdgeBackend(GenerationHistory):
    """Generations as folders below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.where = str(root)
        self.searches = 1  # the engine holds the GIL: more threads would only wait
        self._held: IO[str] | None = None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `IndexBackend`."""
        self._held = _lock(self.root, self.where)
        try:
            yield
        finally:
            self._held.close()
            self._held = None

    def create(self, plan: Generation) -> EdgeWriter:
        """See `IndexBackend`."""
        lock = _lock(self.root, self.where) if self._held is None else None
        try:
            self._drop_unfinished()
            folder = self._folder(plan.name)
            base = self._base(plan)
            if base is not None:
                shutil.copytree(self._here(base) / SHARD, folder / SHARD, ignore=_TEMPORARY)
            return self._writer(folder, plan, base is not None, lock)
        except BaseException:
            if lock is not None:
                lock.close()
            raise

    def generations(self) -> list[Generation]:
        """See `IndexBackend`."""
        return [self.read(name) for name in self._complete()]

    def published(self) -> str | None:
        """See `IndexBackend`."""
        content = self._content(POINTER)
        if content is None:
            return None
        try:
            name: str = json.loads(content)["generation"]
        except (ValueError, KeyError, TypeError) as error:
            where = f"{self.where}/{POINTER}"
            raise SearchIndexError(f"{where} is damaged ({error}): delete it and index again") from None
        return None if self._content(_manifest(name)) is None else name  # it may have been deleted by hand

    def publish(self, name: str) -> None:
        """See `IndexBackend`."""
        self.read(name)
        write_json(self.root / POINTER, {"generation": name})

    def discard(self, name: str) -> None:
        """See `IndexBackend`."""
        (self._folder(name) / MANIFEST).unlink()  # from here on nobody takes it for complete
        shutil.rmtree(self._folder(name))

    def open(self, name: str) -> EdgeReader:
        """See `IndexBackend`."""
        generation = self.read(name)
        return EdgeReader(self._here(name), generation)

    def _base(self, plan: Generation) -> str | None:
        """Returns the published generation if the new one can begin with a copy of it."""
        name = self.published()
        return name if name is not None and same_build(self.read(name), plan) else None

    def read(self, name: str) -> Generation:
        """See `IndexBackend`."""
        content = self._content(_manifest(name))
        if content is None:
            raise SearchIndexError(f"{self.where} has no complete generation {name}: run jobs/index.py again")
        try:
            return Generation.model_validate(json.loads(content))
        except (ValidationError, ValueError) as error:
            where = f"{self.where}/{_manifest(name)}"
            raise SearchIndexError(f"{where} is damaged ({error}): delete its folder and index again") from None

    def _folder(self, name: str) -> Path:
        return self.root / GENERATIONS / name

    def _content(self, name: str) -> bytes | None:
        """Returns what a file below the backend holds; None if there is none."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def _complete(self) -> list[str]:
        """Returns the names of the complete generations, oldest first."""
        return [path.parent.name for path in sorted(self.root.glob(f"{GENERATIONS}/*/{MANIFEST}"))]

    def _here(self, name: str) -> Path:
        """Returns the folder that holds a complete generation on this machine."""
        return self._folder(name)

    def _writer(self, folder: Path, plan: Generation, copied: bool, lock: IO[str] | None) -> EdgeWriter:
        return EdgeWriter(folder, plan, copied, lock)

    def _drop_unfinished(self) -> None:
        for folder in self.root.glob(f"{GENERATIONS}/*"):
            if folder.is_dir() and not (folder / MANIFEST).exists():
                shutil.rmtree(folder)


class EdgeWriter:
    """Fills one folder; see `Writer`."""

    def __init__(self, folder: Path, plan: Generation, copied: bool, lock: IO[str] | None) -> None:
        self.generation = plan
        self._folder = folder
        self._lock = lock
        with _our_errors(folder):
            self._shard = edge.EdgeShard.load(str(folder / SHARD)) if copied else _new_shard(folder / SHARD, plan)

    def state(self) -> dict[str, str]:
        """See `Writer`."""
        return digests(partial(_scroll, self._shard, self._folder))

    def upload(self, items: Sequence[Item], features: np.ndarray) -> None:
        """See `Writer`."""
        units, norms = unit_rows(features, self.generation.dim, [item.id for item in items])
        points = [
            edge.Point(point_id(item.id), unit.tolist(), item.payload(float(norm)))
            for item, unit, norm in zip(items, units, norms, strict=True)
        ]
        with _our_errors(self._folder):
            self._shard.update(edge.UpdateOperation.upsert_points(points))

    def remove(self, ids: Sequence[str]) -> None:
        """See `Writer`."""
        with _our_errors(self._folder):
            self._shard.update(edge.UpdateOperation.delete_points([point_id(identifier) for identifier in ids]))

    def finish(self, details: Mapping[str, Any]) -> Generation:
        """See `Writer`."""
        with _our_errors(self._folder):
            while self._shard.optimize():
                pass
            self._shard.flush()
            count = self._shard.count(edge.CountRequest(exact=True))
            self._shard.close()
            # The first load writes what the engine had put off; later ones leave the content of every file as it is.
            edge.EdgeShard.load(str(self._folder / SHARD)).close()
        done = self.generation.model_copy(update={"count": count, "details": dict(details)})
        write_json(self._folder / MANIFEST, done.model_dump(mode="json"))
        return done

    def close(self) -> None:
        """See `Writer`."""
        try:
            self._shard.close()
        finally:
            if self._lock is not None:
                self._lock.close()


class EdgeReader(PointReader):
    """Searches one folder. The engine holds the GIL for the whole of a call."""

    def __init__(self, folder: Path, generation: Generation) -> None:
        super().__init__(generation, _FILTER_TYPES)
        self._folder = folder
        with _our_errors(folder):
            self._shard = edge.EdgeShard.load(str(folder / SHARD))
        settings = generation.settings
        rescore = edge.QuantizationSearchParams(rescore=True, oversampling=settings.oversampling)
        quantized = settings.quantization != "none"
        self._params = edge.SearchParams(hnsw_ef=settings.hnsw.ef_search, quantization=rescore if quantized else None)

    def close(self) -> None:
        """See `Reader`."""
        self._shard.close()

    def _nearest(self, rows: np.ndarray, limit: int, offset: int, wanted: Any) -> Sequence[Sequence[Any]]:
        queries = [
            edge.QueryRequest(
                query=edge.Query.Nearest(row.tolist()),
                limit=limit,
                offset=offset,
                filter=wanted,
                params=self._params,
                with_payload=True,
            )
            for row in rows
        ]
        with _our_errors(self._folder):
            return self._shard.query_batch(edge.QueryBatchRequest(queries))

    def _retrieve(self, points: list[Any], with_vectors: bool) -> Sequence[Any]:
        with _our_errors(self._folder):
            return self._shard.retrieve(points, with_payload=True, with_vector=with_vectors)

    def _scroll(self, limit: int, cursor: Any, wanted: Any, payload: Any) -> tuple[Sequence[Any], Any]:
        return _scroll(self._shard, self._folder, limit, cursor, wanted, payload)

    def _count(self, wanted: Any) -> int:
        with _our_errors(self._folder):
            return self._shard.count(edge.CountRequest(exact=True, filter=wanted))


def _new_shard(folder: Path, plan: Generation) -> edge.EdgeShard:
    folder.mkdir(parents=True)
    hnsw = plan.settings.hnsw
    threshold = hnsw.threshold_kb
    config = edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(size=plan.dim, distance=edge.Distance.Cosine),
        hnsw_config=edge.HnswIndexConfig(m=hnsw.m, ef_construct=hnsw.ef_construct, full_scan_threshold=threshold),
        quantization_config=_quantization(plan.settings.quantization),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=threshold),
        wal_enabled=False,
    )
    shard = edge.EdgeShard.create(str(folder), config)
    kinds = {attribute.name: attribute.kind for attribute in plan.attributes}
    for name in plan.indexed:
        shard.update(edge.UpdateOperation.create_field_index(f"attributes.{name}", _KINDS[kinds[name]]))
    return shard


def _quantization(name: str) -> Any:
    if name == "int8":
        return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, quantile=0.99, memory=edge.Memory.Pinned)
    if name == "binary":
        return edge.BinaryQuantizationConfig(memory=edge.Memory.Pinned)
    return None


def _scroll(
    shard: edge.EdgeShard, folder: Path, limit: int, cursor: Any, wanted: Any, payload: Any
) -> tuple[Sequence[Any], Any]:
    with _our_errors(folder):
        return shard.scroll(edge.ScrollRequest(limit=limit, offset=cursor, filter=wanted, with_payload=payload))


def _manifest(name: str) -> str:
    return f"{GENERATIONS}/{name}/{MANIFEST}"


def _lock(root: Path, where: str) -> IO[str]:
    """Takes the writers' lock; it is free again when the file is closed or the process dies."""
    root.mkdir(parents=True, exist_ok=True)
    stream = (root / "writer.lock").open("a")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        raise SearchIndexError(f"another job is writing to the index {where}: wait for it, or stop it") from None
    stream.truncate(0)
    stream.write(f"{os.getpid()}\n")
    stream.flush()
    return stream


@contextmanager
def _our_errors(folder: Path) -> Iterator[None]:
    """Qdrant Edge raises bare Exception: says where it happened."""
    try:
        yield
    except SearchIndexError:
        raise
    except Exception as error:
        raise SearchIndexError(f"index generation {folder}: {error}") from error
