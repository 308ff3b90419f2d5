"""The search service without HTTP: searches, browses, stores feedback, follows the published generation."""

from __future__ import annotations

import asyncio
from typing import Literal

from cirray.client import schemas
from cirray.config.serving import Serving
from cirray.console.log import log
from cirray.data.filters import Filter
from cirray.data.images import PictureError
from cirray.errors import LocationError
from cirray.index.backend import Reader, WritableBackend
from cirray.index.items import Hit, Item
from cirray.storage.files import cache_folder
from serve.answers import Clock, hit_answer, item_answer
from serve.catalog import Catalog
from serve.encoder_types import ComposedInput, QueryEncoder
from serve.errors import NoPictureError, NoSuchItemError, UnfitRequestError
from serve.feedback import open_log
from serve.filter_check import check_filter
from serve.item_writer import ItemWriter
from serve.model import ServedModel
from serve.query_parts import query_parts
from serve.reranking import SecondStage
from serve.thumbnails import Thumbnails
from serve.uploads import Uploads

Kind = Literal["composed", "similar", "text"]


class Service:
    """The state of one ingress replica; `start` it before use.

    Args:
        settings: the configuration.
        catalog: the published generation.
        encoder: encodes queries and pictures.
    """

    def __init__(self, settings: Serving, catalog: Catalog, encoder: QueryEncoder) -> None:
        self.settings = settings
        self.catalog = catalog
        self._encoder = encoder
        self._feedback = open_log(settings.feedback, int(settings.feedback_max_mb * 2**20))
        pictures = cache_folder(settings.pictures, "pictures")
        self._uploads = Uploads(pictures, int(settings.max_megapixels * 1e6), settings.decoders)
        self._model: ServedModel
        self._thumbnails: Thumbnails
        self.writer: ItemWriter
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Reads the model's description, opens the published generation, and starts watching for newer ones.

        Raises:
            SearchIndexError: the model does not fit the index.
        """
        self._model = ServedModel(self._encoder, self._uploads, await self._encoder.info())
        self._thumbnails = Thumbnails(self._model.info.preprocess.background)
        self.writer = ItemWriter(self.catalog, self._model, self.settings.max_batch)
        await self._refresh()
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stops the watcher and the threads."""
        if self._watcher is not None:
            self._watcher.cancel()
        self.catalog.close()
        self._uploads.close()

    async def search(self, request: schemas.SearchRequest, began: float) -> schemas.SearchAnswer:
        """Answers a query.

        Args:
            began: `time.perf_counter()` when the request arrived.

        Raises:
            NoSuchItemError, PictureError, UnfitRequestError: the request cannot be answered.
            BusyError, IndexUnavailableError: temporary.
        """
        clock = Clock(began)
        with self.catalog.reader() as reader:
            check_filter(request.filter, reader.generation)
            query = await self._query_input(request, reader, clock)
            encoded = await self._model.encode_query(query, reader.generation)
            clock.lap("encode")

            async def first_stage(limit: int, offset: int) -> list[Hit]:
                (hits,) = await self.catalog.call(
                    reader.search, encoded.feature, limit, offset, request.filter, request.left_out
                )
                return hits

            second = SecondStage(self.catalog, reader, self._model, encoded)
            top = request.rerank.top if request.rerank else 0
            scored = await second.page(first_stage, top, request.limit, request.offset, clock)
        return schemas.SearchAnswer(
            hits=[hit_answer(hit, rerank_score) for hit, rerank_score in scored],
            text_weight=encoded.text_weight,
            kind=_kind(request),
            generation=reader.generation.name,
            model=encoded.model,
            timings_ms=clock.timings(),
        )

    async def browse(self, limit: int, cursor: str | None, filter: Filter) -> schemas.ItemPage:
        """Returns one page of the catalog's items that match the filter."""
        with self.catalog.reader() as reader:
            check_filter(filter, reader.generation)
            page = await self.catalog.call(reader.browse, limit, cursor, filter)
            total = await self.catalog.call(reader.count, filter)
        return schemas.ItemPage(items=[item_answer(item) for item in page.items], cursor=page.cursor, total=total)

    async def item(self, identifier: str) -> Item:
        """Returns an item of the index. Raises NoSuchItemError."""
        with self.catalog.reader() as reader:
            found = await self.catalog.call(reader.items, [identifier])
        if identifier not in found:
            raise NoSuchItemError(f"there is no item {identifier!r}")
        return found[identifier]

    async def thumbnail(self, item: Item, number: int, size: int) -> bytes:
        """Returns the thumbnail of picture `number` of an item as WebP. Raises NoPictureError."""
        try:
            return await asyncio.to_thread(self._thumbnails.get, item.pictures[number], size)
        except (PictureError, LocationError) as error:
            log(f"no thumbnail of {item.id!r}: {error}")  # visitors must not see paths of this machine
            raise NoPictureError(f"the picture of item {item.id!r} cannot be shown: index the catalog again") from None

    async def feedback(self, feedback: schemas.Feedback) -> str:
        """Stores feedback; returns its id. Raises NoSuchItemError if it names an item that does not exist."""
        named = [name for name in (feedback.reference, feedback.chosen) if name is not None]
        with self.catalog.reader() as reader:
            known = await self.catalog.call(reader.items, named)
        for name in named:
            if name not in known:
                raise NoSuchItemError(f"there is no item {name!r}")
        return await asyncio.to_thread(self._feedback.add, feedback, self._model.info.name)

    def model(self, key_needed: bool) -> schemas.ModelAnswer:
        """Returns the served model and generation."""
        info = self._model.info
        with self.catalog.reader() as reader:
            generation = reader.generation
        filterable = [attribute for attribute in generation.attributes if attribute.name in generation.indexed]
        return schemas.ModelAnswer(
            name=self.settings.name,
            model=info.name,
            backbone=info.backbone,
            combining=info.combining,
            has_text_weight=info.has_text_weight,
            has_reranker=info.has_reranker,
            dim=info.dim,
            metrics=info.metrics,
            generation=generation.name,
            items=generation.count,
            attributes=[schemas.AttributeAnswer(**attribute.model_dump()) for attribute in filterable],
            writable=isinstance(self.catalog.backend, WritableBackend),
            key_needed=key_needed,
            notices=[notice for notice in (info.refused, self.catalog.refused) if notice],
        )

    async def _query_input(self, request: schemas.SearchRequest, reader: Reader, clock: Clock) -> ComposedInput:
        """Returns the encoder's input."""
        info = self._model.info
        if request.text_weight is not None and not info.has_text_weight:
            raise UnfitRequestError(
                f"text_weight cannot be set: the combining function {info.combining} has none; leave it out"
            )
        if request.rerank is not None and not info.has_reranker:
            raise UnfitRequestError(
                "rerank cannot be used: the served bundle has no reranker; leave it out, or serve one with stage 3"
            )
        return await query_parts(request, reader, self.catalog, self._model, clock)

    async def _refresh(self) -> None:
        """Opens a new generation. Not in a search thread: downloading one from a URI may take minutes."""
        await asyncio.to_thread(self.catalog.refresh, self._model.info.image_fingerprint)

    async def _watch(self) -> None:
        """Polls for a new model and a new generation. Errors are logged; searching and polling continue."""
        while True:
            await asyncio.sleep(self.settings.poll_s)
            try:
                await self._model.refresh()
            except Exception as error:
                log(f"no encoder answers: {error or type(error).__name__}")
            try:
                await self._refresh()
            except Exception as error:
                log(f"cannot check for a new generation: {error or type(error).__name__}")


def _kind(request: schemas.SearchRequest) -> Kind:
    if not request.all_references:
        return "text"
    return "composed" if request.has_text else "similar"
