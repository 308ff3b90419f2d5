"""What the service does, apart from HTTP: searches, browses, writes items, follows the published generation."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np

from cirray import api
from cirray.bars import say
from cirray.config import Serving
from cirray.data.captions import query_caption
from cirray.data.pictures import decode_rgb, pixels
from cirray.errors import CirrayError
from cirray.files import home_folder
from cirray.filters import Filter
from cirray.index.home import LiveHome, Reader
from cirray.index.items import Hit, Item
from serve.catalogue import Catalogue
from serve.encoding import Ask, ModelInfo, QueryEncoder
from serve.feedback import FeedbackLog
from serve.thumbnails import Thumbnails

Result = TypeVar("Result")


class NoSuchItemError(CirrayError):
    """The catalogue has no such item."""


class NotWritableError(CirrayError):
    """The index cannot be changed item by item."""


class UnfitRequestError(CirrayError):
    """The request is well formed, and cannot be answered by what is served."""


class Service:
    """One ingress replica's state; `start` before use.

    Args:
        settings: the configuration.
        catalogue: the published generation.
        encoder: the way to the model.
        searches: searches at a time; 1 for the embedded engine, which holds the GIL.
    """

    def __init__(self, settings: Serving, catalogue: Catalogue, encoder: QueryEncoder, searches: int) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self._encoder = encoder
        self._index_threads = ThreadPoolExecutor(searches, thread_name_prefix="index")
        max_feedback = int(settings.feedback_max_mb * 2**20)
        self._feedback = FeedbackLog(home_folder(settings.feedback, "feedback"), max_feedback)
        self._pictures = home_folder(settings.pictures, "pictures")
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
        await self._index(self.catalogue.refresh, self._info.image_fingerprint)
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stops looking for newer generations."""
        if self._watcher is not None:
            self._watcher.cancel()
        self._index_threads.shutdown(wait=False)

    async def search(self, request: api.SearchRequest, picture: bytes | None, began: float) -> api.SearchAnswer:
        """Answers a query.

        Args:
            picture: the bytes of the reference image where it was not given within the request.
            began: `time.perf_counter()` when the request came.

        Raises:
            NoSuchItemError, PictureError, UnfitRequestError: the request cannot be answered.
        """
        clock = Clock(began)
        with self.catalogue.reader() as reader:
            identifier = request.reference.id if request.reference else None
            ask, kind = await self._ask(request, picture, reader, clock)
            if kind == "similar" and ask.feature is not None:
                query, balance = ask.feature / np.linalg.norm(ask.feature), None
                model = self._info.name
            else:
                composed = await self._encoder.compose(ask)
                query, balance, model = composed.query, composed.balance, composed.model
            clock.lap("encode")
            without = None if request.include_reference else identifier
            found = await self._index(reader.search, query, request.limit, request.offset, request.filter, without)
            clock.lap("search")
            return api.SearchAnswer(
                hits=[_hit(hit) for hit in found[0]],
                balance=balance,
                kind=kind,
                generation=reader.generation.name,
                model=model,
                timings_ms=clock.timings(),
            )

    async def items(self, limit: int, cursor: str | None, filter: Filter) -> api.ItemPage:
        """Returns a page of the catalogue."""
        with self.catalogue.reader() as reader:
            page = await self._index(reader.browse, limit, cursor, filter)
            total = await self._index(reader.count, filter)
        return api.ItemPage(items=[_item(item) for item in page.items], cursor=page.cursor, total=total)

    async def item(self, identifier: str) -> api.ItemAnswer:
        """Returns one item; raises NoSuchItemError."""
        return _item(await self._find(identifier))

    async def thumbnail(self, identifier: str, size: int) -> tuple[bytes, str]:
        """Returns (WebP bytes, entity tag); raises NoSuchItemError or PictureError."""
        item = await self._find(identifier)
        return await asyncio.to_thread(self._thumbnails.get, item, size), f"{item.content[:32]}-{size}"

    async def put(self, items: Sequence[api.ItemPut]) -> int:
        """Adds or replaces items of the published generation; returns how many.

        Raises:
            NotWritableError: the index is embedded.
            PictureError, UnfitRequestError: an item cannot be taken; then none is.
        """
        home = self._live()
        with self.catalogue.reader() as reader:
            _check_kinds(items, reader)
        contents = [_from_base64(item.image, f"image of {item.id!r}") for item in items]
        decoded = [await self._decode(content, repr(item.id)) for item, content in zip(items, contents, strict=True)]
        features = np.stack(await asyncio.gather(*(self._encoder.embed(row) for row in decoded)))
        paths = [await asyncio.to_thread(self._keep_picture, content) for content in contents]
        rows = [
            Item(item.id, str(path), path.name, item.title, item.attributes)
            for item, path in zip(items, paths, strict=True)
        ]
        await self._index(home.put, rows, features)
        return len(rows)

    async def delete(self, ids: Sequence[str]) -> int:
        """Removes items; returns how many there were. Raises NotWritableError if the index is embedded."""
        home = self._live()
        with self.catalogue.reader() as reader:
            present = list(await self._index(reader.items, ids))
        if present:
            await self._index(home.delete, present)
        return len(present)

    async def feedback(self, feedback: api.Feedback) -> str:
        """Keeps feedback; returns its id. Raises NoSuchItemError if it names an item that is not there."""
        with self.catalogue.reader() as reader:
            named = [name for name in (feedback.reference, feedback.chosen) if name is not None]
            known = await self._index(reader.items, named)
        for name in named:
            if name not in known:
                raise NoSuchItemError(f"there is no item {name!r}")
        return await asyncio.to_thread(self._feedback.add, feedback, self._info.name)

    def model(self, key_needed: bool) -> api.ModelAnswer:
        """Returns what is being served."""
        info = self._info
        with self.catalogue.reader() as reader:
            generation = reader.generation
        return api.ModelAnswer(
            name=self.settings.name,
            model=info.name,
            backbone=info.backbone,
            combining=info.combining,
            dim=info.dim,
            metrics=info.metrics,
            generation=generation.name,
            items=generation.count,
            attributes=[api.AttributeAnswer(**attribute.model_dump()) for attribute in generation.attributes],
            writable=isinstance(self.catalogue.home, LiveHome),
            key_needed=key_needed,
            notices=[notice for notice in (info.refused, self.catalogue.refused) if notice],
        )

    async def _ask(
        self, request: api.SearchRequest, picture: bytes | None, reader: Reader, clock: Clock
    ) -> tuple[Ask, Any]:
        reference = request.reference
        if request.weight is not None and self._info.combining == "gated":
            raise UnfitRequestError("weight cannot be set: the gated combining function has no balance; leave it out")
        if reference is not None and reference.image is not None:
            picture = _from_base64(reference.image, "reference.image")
        decoded = None if picture is None else await self._decode(picture, "the reference picture")
        clock.lap("read")
        feature = None
        if reference is not None and reference.id is not None:
            feature = (await self._index(reader.features, [reference.id])).get(reference.id)
            if feature is None:
                raise NoSuchItemError(f"there is no item {reference.id!r} to start from")
        clock.lap("reference")
        text = query_caption(request.texts) if request.texts else None
        has_image = feature is not None or decoded is not None
        kind = "text" if not has_image else "similar" if text is None else "composed"
        return Ask(feature, decoded, text, request.weight), kind

    async def _decode(self, content: bytes, name: str) -> np.ndarray:
        """Returns the pixels of a picture file; Pillow decodes outside the GIL."""

        def decode() -> np.ndarray:
            rgb = decode_rgb(content, name, self._info.preprocess.background)
            return pixels(rgb, self._info.size, self._info.preprocess)

        return await asyncio.to_thread(decode)

    async def _find(self, identifier: str) -> Item:
        with self.catalogue.reader() as reader:
            found: dict[str, Item] = await self._index(reader.items, [identifier])
        if identifier not in found:
            raise NoSuchItemError(f"there is no item {identifier!r}")
        return found[identifier]

    async def _index(self, call: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._index_threads, lambda: call(*arguments))

    def _live(self) -> LiveHome:
        home = self.catalogue.home
        if not isinstance(home, LiveHome):
            raise NotWritableError(
                "the embedded index is read-only while it is served: change the catalogue file and run jobs/index.py, "
                "which publishes a new generation without a pause; or keep the index on a Qdrant server (QDRANT_URL)"
            )
        return home

    def _keep_picture(self, content: bytes) -> Path:
        """Keeps an uploaded picture under the hash of its bytes."""
        path = self._pictures / hashlib.sha256(content).hexdigest()
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{time.monotonic_ns()}")
            temporary.write_bytes(content)
            temporary.replace(path)
        return path

    async def _watch(self) -> None:
        """Follows the published generation and the model; an index that cannot be reached is asked again."""
        while True:
            await asyncio.sleep(self.settings.poll_s)
            try:
                self._info = await self._encoder.info()
                await self._index(self.catalogue.refresh, self._info.image_fingerprint)
            except Exception as error:  # whatever it was, the next look may succeed, and searches go on meanwhile
                say(f"cannot look for a new generation: {error or type(error).__name__}")


class Clock:
    """Measures the parts of a request, in milliseconds."""

    def __init__(self, began: float) -> None:
        self._began = self._last = began
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Ends a part."""
        now = time.perf_counter()
        self._laps[name] = round(1000 * (now - self._last), 2)
        self._last = now

    def timings(self) -> api.Timings:
        """Returns all parts and their total."""
        return api.Timings(**self._laps, total=round(1000 * (self._last - self._began), 2))


def image_path(identifier: str) -> str:
    """Returns where an item's thumbnail is, below the service's address."""
    return f"/v1/items/{quote(identifier, safe='')}/image"


def _item(item: Item) -> api.ItemAnswer:
    return api.ItemAnswer(id=item.id, title=item.title, attributes=dict(item.attributes), image=image_path(item.id))


def _hit(hit: Hit) -> api.HitAnswer:
    return api.HitAnswer(**_item(hit.item).model_dump(), score=hit.score)


def _from_base64(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UnfitRequestError(f"{where} is not base64: send the picture file's bytes in base64") from None


def _check_kinds(items: Sequence[api.ItemPut], reader: Reader) -> None:
    """Refuses an attribute of another kind than the catalogue's: filters would never find it."""
    kinds = {attribute.name: attribute.kind for attribute in reader.generation.attributes}
    for item in items:
        for name, value in item.attributes.items():
            kind = "bool" if isinstance(value, bool) else "number" if isinstance(value, (int, float)) else "keyword"
            if kinds.get(name, kind) != kind:
                raise UnfitRequestError(f"item {item.id!r}: attribute {name} must be a {kinds[name]}, not a {kind}")
