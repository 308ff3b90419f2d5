"""Adds, replaces and deletes items of the published generation, on a Qdrant server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from cirray.client import schemas
from cirray.index.backend import Generation, WritableBackend
from cirray.index.items import Item
from serve.catalog import Catalog
from serve.errors import NotWritableError
from serve.filter_check import check_attributes
from serve.model import ServedModel


class ItemWriter:
    """Writes to the generation that is being searched.

    Args:
        catalog: the published generation.
        model: encodes the items' pictures.
        batch: pictures sent to the encoders at a time.
    """

    def __init__(self, catalog: Catalog, model: ServedModel, batch: int) -> None:
        self._catalog = catalog
        self._model = model
        self._batch = batch

    async def put(self, items: Sequence[schemas.ItemPut]) -> int:
        """Adds or replaces items, all or none; returns their number.

        Raises:
            NotWritableError: the index is embedded.
            PictureError, UnfitRequestError: an item is not valid.
            BusyError, IndexUnavailableError: temporary; the latter also if another generation was published meanwhile.
        """
        backend = self._backend()
        with self._catalog.reader() as reader:
            generation = reader.generation
            check_attributes(items, generation)
            features = await self._features(items, generation)
            paths = [await self._model.uploads.keep(item.image) for item in items]
            stored = [
                Item(item.id, str(path), path.name, item.title, item.attributes)
                for item, path in zip(items, paths, strict=True)
            ]
            await self._catalog.call(backend.put, generation.name, stored, features)
        return len(stored)

    async def delete(self, ids: Sequence[str]) -> int:
        """Deletes items; returns how many of them existed. Raises as `put`."""
        backend = self._backend()
        with self._catalog.reader() as reader:
            present = list(await self._catalog.call(reader.items, ids))
            if present:
                await self._catalog.call(backend.delete, reader.generation.name, present)
        return len(present)

    async def _features(self, items: Sequence[schemas.ItemPut], generation: Generation) -> np.ndarray:
        """Returns the raw image features [N, d] of the items' pictures."""
        features: list[np.ndarray] = []
        for start in range(0, len(items), self._batch):
            part = items[start : start + self._batch]
            calls = (self._model.encode_image(item.image, repr(item.id), generation) for item in part)
            features += await asyncio.gather(*calls)
        return np.stack(features)

    def _backend(self) -> WritableBackend:
        backend = self._catalog.backend
        if not isinstance(backend, WritableBackend):
            raise NotWritableError(
                "the embedded index is read-only while it is served: change the catalog file and run jobs/index.py, "
                "which publishes a new generation without a pause; or keep the index on a Qdrant server (QDRANT_URL)"
            )
        return backend
