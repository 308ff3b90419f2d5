"""One shard of Qdrant Edge in a generation's folder: the writer and the reader of the embedded backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import qdrant_edge as edge

from cirray.errors import SearchIndexError
from cirray.index.backend import Generation
from cirray.index.items import NUMBER, PRODUCT, Item, payload_rows, point_id, point_ids
from cirray.index.reader import BaseReader, digests, further_points, search_params
from cirray.index.translate import FilterClasses, translate
from cirray.storage.files import write_json

MANIFEST = "generation.json"
SHARD = "shard"


def _match_value(value: Any) -> edge.MatchValue:
    """Converts bool to NumPy's: Edge treats a Python bool as an integer, which matches no stored bool."""
    converted: Any = np.bool_(value) if isinstance(value, bool) else value
    return edge.MatchValue(converted)


_FILTER_CLASSES = FilterClasses(
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


class EdgeWriter:
    """Fills the shard in one folder; see `Writer`."""

    def __init__(self, folder: Path, plan: Generation, copied: bool, lock: IO[str] | None) -> None:
        self.generation = plan
        self._folder = folder
        self._lock = lock
        with _map_errors(folder):
            self._shard = edge.EdgeShard.load(str(folder / SHARD)) if copied else _new_shard(folder / SHARD, plan)

    def state(self) -> dict[str, str]:
        """See `Writer`."""
        return digests(partial(_scroll, self._shard, self._folder))

    def upload(self, items: Sequence[Item], features: np.ndarray) -> None:
        """See `Writer`."""
        points = [edge.Point(*row) for row in payload_rows(items, features, self.generation.dim)]
        with _map_errors(self._folder):
            old = self._further_points([item.id for item in items])
            self._shard.update(edge.UpdateOperation.upsert_points(points))
            self._delete(old - {point for item in items for point in point_ids(item)})

    def remove(self, ids: Sequence[str]) -> None:
        """See `Writer`."""
        with _map_errors(self._folder):
            further = self._further_points(ids)
            self._delete({*further, *(point_id(identifier) for identifier in ids)})

    def _delete(self, points: Set[str]) -> None:
        if points:
            self._shard.update(edge.UpdateOperation.delete_points(sorted(points)))

    def _further_points(self, ids: Sequence[str]) -> set[str]:
        def retrieve(points: list[Any]) -> Sequence[Any]:
            return self._shard.retrieve(points, with_payload=True, with_vector=False)

        return further_points(retrieve, ids) if self.generation.grouped else set()

    def finish(self, details: Mapping[str, Any]) -> Generation:
        """See `Writer`."""
        with _map_errors(self._folder):
            while self._shard.optimize():
                pass
            self._shard.flush()
            wanted = translate(None, _FILTER_CLASSES, only_main=self.generation.grouped)
            count = self._shard.count(edge.CountRequest(exact=True, filter=wanted))
            self._shard.close()
            # The first load writes data that the engine had deferred; later ones leave all file contents unchanged.
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


class EdgeReader(BaseReader):
    """Searches the shard in one folder. The engine holds the GIL during a call."""

    def __init__(self, folder: Path, generation: Generation) -> None:
        super().__init__(generation, _FILTER_CLASSES)
        self._folder = folder
        with _map_errors(folder):
            self._shard = edge.EdgeShard.load(str(folder / SHARD))
        self._approximate, self._exact = search_params(edge, generation)

    def close(self) -> None:
        """See `Reader`."""
        self._shard.close()

    def _nearest(self, rows: np.ndarray, limit: int, wanted: Any, exact: bool) -> Sequence[Sequence[Any]]:
        queries = [
            edge.QueryRequest(
                query=edge.Query.Nearest(row.tolist()),
                limit=limit,
                filter=wanted,
                params=self._exact if exact else self._approximate,
                with_payload=[PRODUCT] if self.generation.grouped else False,
            )
            for row in rows
        ]
        with _map_errors(self._folder):
            return self._shard.query_batch(edge.QueryBatchRequest(queries))

    def _retrieve(self, points: list[Any], with_vectors: bool) -> Sequence[Any]:
        with _map_errors(self._folder):
            return self._shard.retrieve(points, with_payload=True, with_vector=with_vectors)

    def _scroll(self, limit: int, cursor: Any, wanted: Any, payload: Any) -> tuple[Sequence[Any], Any]:
        return _scroll(self._shard, self._folder, limit, cursor, wanted, payload)

    def _count(self, wanted: Any) -> int:
        with _map_errors(self._folder):
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
    if plan.grouped:
        shard.update(edge.UpdateOperation.create_field_index(PRODUCT, edge.PayloadSchemaType.Keyword))
        shard.update(edge.UpdateOperation.create_field_index(NUMBER, edge.PayloadSchemaType.Float))
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
    with _map_errors(folder):
        return shard.scroll(edge.ScrollRequest(limit=limit, offset=cursor, filter=wanted, with_payload=payload))


@contextmanager
def _map_errors(folder: Path) -> Iterator[None]:
    """Maps the bare Exception that Qdrant Edge raises to SearchIndexError with the folder."""
    try:
        yield
    except SearchIndexError:
        raise
    except Exception as error:
        raise SearchIndexError(f"index generation {folder}: {error}") from error
