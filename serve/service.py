"""What the service does, apart from HTTP: searches, browses, writes items, follows the published generation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

import numpy as np

from cirray.client import schemas
from cirray.config.serving import Serving
from cirray.console.log import log
from cirray.data.captions import query_caption
from cirray.data.filters import Filter
from cirray.data.images import PictureError
from cirray.errors import LocationError
from cirray.index.backend import Reader, WritableBackend
from cirray.index.items import Item
from cirray.storage.files import cache_folder
from serve.answers import Clock, hit_answer, item_answer
from serve.catalog import Catalog
from serve.encoder_types import EncodedQuery, ModelInfo, QueryEncoder, QueryInput
from serve.errors import ModelChangedError, NoPictureError, NoSuchItemError, NotWritableError, UnfitRequestError
from serve.feedback import open_log
from serve.filter_check import check_attributes, check_filter
from serve.thumbnails import Thumbnails
from serve.uploads import Uploads, from_base64

Result = TypeVar("Result")
Kind = Literal["composed", "similar", "text"]


class Service:
    """One ingress replica's state; `start` before use.

    Args:
        settings: the configuration.
        catalog: the published generation.
        encoder: the way to the model.
        searches: searches at a time; 1 for the embedded engine, which holds the GIL.
    """

    def __init__(self, settings: Serving, catalog: Catalog, encoder: QueryEncoder, searches: int) -> None:
        self.settings = settings
        self.catalog = catalog
        self._encoder = encoder
        self._index_threads = ThreadPoolExecutor(searches, thread_name_prefix="index")
        self._feedback = open_log(settings.feedback, int(settings.feedback_max_mb * 2**20))
        pictures = cache_folder(settings.pictures, "pictures")
        self._uploads = Uploads(pictures, int(settings.max_megapixels * 1e6), settings.decoders)
        self._info: ModelInfo
        self._thumbnails: Thumbnails
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Asks for the model, opens the published generation, and begins to look for newer ones.

        Raises:
            SearchIndexError: the model does not fit the index.
        """
        self._info = await self._encoder.info()
        self._thumbnails = Thumbnails(self._info.preprocess.background)
        await self._refresh()
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stops looking for newer generations."""
        if self._watcher is not None:
            self._watcher.cancel()
        self._index_threads.shutdown(wait=False)
        self._uploads.close()

    async def search(self, request: schemas.SearchRequest, picture: bytes | None, began: float) -> schemas.SearchAnswer:
        """Answers a query.

        Args:
            picture: the bytes of the reference image where it was not given within the request.
            began: `time.perf_counter()` when the request came.

        Raises:
            NoSuchItemError, PictureError, UnfitRequestError: the request cannot be answered.
            BusyError, IndexUnavailableError: not just now.
        """
        clock = Clock(began)
        identifier = request.reference.id if request.reference else None
        with self.catalog.reader() as reader:
            check_filter(request.filter, reader.generation)
            ask = await self._ask(request, picture, reader, clock)
            composed = await self._compose(ask, reader)
            clock.lap("encode")
            without = None if request.include_reference else identifier
            found = await self._index(
                reader.search, composed.query, request.limit, request.offset, request.filter, without
            )
            clock.lap("search")
        return schemas.SearchAnswer(
            hits=[hit_answer(hit) for hit in found[0]],
            text_weight=composed.text_weight,
            kind=_kind(ask),
            generation=reader.generation.name,
            model=composed.model,
            timings_ms=clock.timings(),
        )

    async def items(self, limit: int, cursor: str | None, filter: Filter) -> schemas.ItemPage:
        """Returns a page of the catalog."""
        with self.catalog.reader() as reader:
            check_filter(filter, reader.generation)
            page = await self._index(reader.browse, limit, cursor, filter)
            total = await self._index(reader.count, filter)
        return schemas.ItemPage(items=[item_answer(item) for item in page.items], cursor=page.cursor, total=total)

    async def item(self, identifier: str) -> schemas.ItemAnswer:
        """Returns one item; raises NoSuchItemError."""
        return item_answer(await self.find(identifier))

    async def find(self, identifier: str) -> Item:
        """Returns what the index holds of an item; raises NoSuchItemError."""
        with self.catalog.reader() as reader:
            found: dict[str, Item] = await self._index(reader.items, [identifier])
        if identifier not in found:
            raise NoSuchItemError(f"there is no item {identifier!r}")
        return found[identifier]

    async def thumbnail(self, item: Item, size: int) -> bytes:
        """Returns an item's picture as WebP; raises NoPictureError."""
        try:
            return await asyncio.to_thread(self._thumbnails.get, item, size)
        except (PictureError, LocationError) as error:
            log(f"no thumbnail of {item.id!r}: {error}")  # a path of this machine is nobody's business
            raise NoPictureError(f"the picture of item {item.id!r} cannot be shown: index the catalog again") from None

    async def put(self, items: Sequence[schemas.ItemPut]) -> int:
        """Adds or replaces items of the published generation; returns how many.

        Raises:
            NotWritableError: the index is embedded.
            PictureError, UnfitRequestError: an item cannot be taken; then none is.
            IndexUnavailableError: another generation was published meanwhile.
        """
        backend = self._live()
        with self.catalog.reader() as reader:
            check_attributes(items, reader.generation)
            contents = [from_base64(item.image, f"image of {item.id!r}") for item in items]
            features = []
            for start in range(0, len(items), self.settings.max_batch):  # so many as the encoder takes together
                part = slice(start, start + self.settings.max_batch)
                pairs = zip(items[part], contents[part], strict=True)
                features += await asyncio.gather(*(self._embed(file, repr(item.id), reader) for item, file in pairs))
            paths = [await self._uploads.keep(content) for content in contents]
            rows = [
                Item(item.id, str(path), path.name, item.title, item.attributes)
                for item, path in zip(items, paths, strict=True)
            ]
            await self._index(backend.put, reader.generation.name, rows, np.stack(features))
        return len(rows)

    async def delete(self, ids: Sequence[str]) -> int:
        """Removes items; returns how many there were. Raises as `put`."""
        backend = self._live()
        with self.catalog.reader() as reader:
            present = list(await self._index(reader.items, ids))
            if present:
                await self._index(backend.delete, reader.generation.name, present)
        return len(present)

    async def feedback(self, feedback: schemas.Feedback) -> str:
        """Keeps feedback; returns its id. Raises NoSuchItemError if it names an item that is not there."""
        named = [name for name in (feedback.reference, feedback.chosen) if name is not None]
        with self.catalog.reader() as reader:
            known = await self._index(reader.items, named)
        for name in named:
            if name not in known:
                raise NoSuchItemError(f"there is no item {name!r}")
        return await asyncio.to_thread(self._feedback.add, feedback, self._info.name)

    def model(self, key_needed: bool) -> schemas.ModelAnswer:
        """Returns what is being served."""
        info = self._info
        with self.catalog.reader() as reader:
            generation = reader.generation
        shown = [attribute for attribute in generation.attributes if attribute.name in generation.indexed]
        return schemas.ModelAnswer(
            name=self.settings.name,
            model=info.name,
            backbone=info.backbone,
            combining=info.combining,
            has_text_weight=info.has_text_weight,
            dim=info.dim,
            metrics=info.metrics,
            generation=generation.name,
            items=generation.count,
            attributes=[schemas.AttributeAnswer(**attribute.model_dump()) for attribute in shown],
            writable=isinstance(self.catalog.backend, WritableBackend),
            key_needed=key_needed,
            notices=[notice for notice in (info.refused, self.catalog.refused) if notice],
        )

    async def _ask(
        self, request: schemas.SearchRequest, picture: bytes | None, reader: Reader, clock: Clock
    ) -> QueryInput:
        """Makes the reference image what an encoder takes: an item's stored feature, or a picture's pixels."""
        reference, info = request.reference, self._info
        if request.text_weight is not None and not info.has_text_weight:
            raise UnfitRequestError(
                f"text_weight cannot be set: the combining function {info.combining} has none; leave it out"
            )
        if reference is not None and reference.image is not None:
            picture = from_base64(reference.image, "reference.image")
        name = "the reference picture"
        decoded = None if picture is None else await self._uploads.decode(picture, name, info.size, info.preprocess)
        clock.lap("read")
        feature = None
        if reference is not None and reference.id is not None:
            feature = (await self._index(reader.features, [reference.id])).get(reference.id)
            if feature is None:
                raise NoSuchItemError(f"there is no item {reference.id!r} to start from")
        clock.lap("reference")
        text = query_caption(request.texts) if request.texts else None
        return QueryInput(feature, decoded, text, request.text_weight)

    async def _embed(self, content: bytes, name: str, reader: Reader) -> np.ndarray:
        """Returns the feature [d] of an item's picture file."""
        decoded = await self._uploads.decode(content, name, self._info.size, self._info.preprocess)
        feature, side = await self._encoder.embed(decoded)
        _check_side(side, reader)
        return feature

    async def _compose(self, ask: QueryInput, reader: Reader) -> EncodedQuery:
        """Returns the query feature. A stored feature alone is one already, and no encoder is asked."""
        if ask.feature is not None and ask.text is None:
            unit = ask.feature / np.linalg.norm(ask.feature)
            return EncodedQuery(unit, None, self._info.name, reader.generation.image_fingerprint)
        composed = await self._encoder.compose(ask)
        _check_side(composed.image_fingerprint, reader)
        return composed

    async def _index(self, call: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._index_threads, lambda: call(*arguments))

    def _live(self) -> WritableBackend:
        backend = self.catalog.backend
        if not isinstance(backend, WritableBackend):
            raise NotWritableError(
                "the embedded index is read-only while it is served: change the catalog file and run jobs/index.py, "
                "which publishes a new generation without a pause; or keep the index on a Qdrant server (QDRANT_URL)"
            )
        return backend

    async def _refresh(self) -> None:
        """Takes over a new generation. Not in a thread that searches: fetching one from a URI may take minutes."""
        await asyncio.to_thread(self.catalog.refresh, self._info.image_fingerprint)

    async def _watch(self) -> None:
        """Follows the model and the published generation; whatever goes wrong, searches go on and it looks again."""
        while True:
            await asyncio.sleep(self.settings.poll_s)
            try:
                self._info = await self._encoder.info()
            except Exception as error:
                log(f"no encoder answers: {error or type(error).__name__}")
            try:
                await self._refresh()
            except Exception as error:
                log(f"cannot look for a new generation: {error or type(error).__name__}")


def _kind(ask: QueryInput) -> Kind:
    if ask.feature is None and ask.pixels is None:
        return "text"
    return "similar" if ask.text is None else "composed"


def _check_side(image_fingerprint: str, reader: Reader) -> None:
    """Refuses a feature of another image side than the generation's: its scores would mean nothing."""
    if image_fingerprint != reader.generation.image_fingerprint:
        raise ModelChangedError("the model was replaced by one that does not fit the index: try again later")
