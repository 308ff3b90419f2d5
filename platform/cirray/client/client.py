"""A Python client of the search service, sync and async.

with Client("http://localhost:8000") as client:
    answer = client.search("dress-17", text="in red and with longer sleeves")
    answer = client.search(picture="photo.jpg", text="in red", filter={"price": {"lt": 50}})
    both = [Reference("dress-17", text="all of this but the color"), Reference("shirt-3", text="the color of this")]
    answer = client.search(references=both, unwanted=[Unwanted(text="stripes")])
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

import httpx
from tenacity import AsyncRetrying, Retrying

from cirray.client import calls, schemas
from cirray.client.calls import Call, NewItem, Reference
from cirray.client.pictures import Picture
from cirray.client.transport import connection_errors, http_settings, read_answer, retry_policy

T = TypeVar("T")


class Client:
    """A synchronous client. Thread-safe.

    Retries a request that the service refuses temporarily (429 or 503 with Retry-After) after the time it asks for, at
    most 30 s. Retries a request without an answer if it only reads. All methods raise ServiceError, and DataError if a
    picture file cannot be read.
    """

    def __init__(self, base_url: str, api_key: str | None = None, timeout: float = 30.0, retries: int = 3) -> None:
        """
        Args:
            base_url: the service's address, such as http://localhost:8000.
            api_key: the key; None reads CIRRAY_API_KEY from the environment.
            timeout: seconds to wait for a connection, and for each part of an answer.
            retries: maximum number of retries of a request.

        Raises:
            ConfigError: base_url is not an HTTP address, or the key cannot be sent in a header.
        """
        self._http = httpx.Client(**http_settings(base_url, api_key, timeout))
        self._retries = retries

    def search(
        self,
        reference: str | None = None,
        *,
        image_number: int = 0,
        picture: Picture | None = None,
        references: Sequence[Reference] = (),
        text: str | None = None,
        refinements: Sequence[str] = (),
        text_weight: float | None = None,
        unwanted: Sequence[schemas.Unwanted] = (),
        filter: Mapping[str, Any] | None = None,
        limit: int = 20,
        offset: int = 0,
        include_reference: bool = False,
        rerank: int | None = None,
    ) -> schemas.SearchAnswer:
        """Searches with an item's id or a picture, a text, or both; see `schemas.SearchRequest`.

        `image_number` chooses a picture of the reference item; 0 is the main one. Give several `references` instead of
        one reference to combine them. The search moves away from what is `unwanted`. `rerank` is the number of first
        hits that the model's reranker scores again.
        """
        return self._send(
            calls.search(
                reference,
                picture,
                image_number,
                references,
                unwanted,
                text=text,
                refinements=refinements,
                text_weight=text_weight,
                filter=filter or {},
                limit=limit,
                offset=offset,
                include_reference=include_reference,
                rerank=None if rerank is None else {"top": rerank},
            )
        )

    def items(self, filter: Mapping[str, Any] | None = None, limit: int = 100) -> Iterator[schemas.ItemAnswer]:
        """Yields all items that match the filter, fetched in pages of `limit`."""
        call: Call[schemas.ItemPage] | None = calls.browse(filter, limit)
        while call:
            page = self._send(call)
            yield from page.items
            call = calls.browse(filter, limit, page.cursor) if page.cursor else None

    def item(self, id: str) -> schemas.ItemAnswer:
        """Returns one item."""
        return self._send(calls.item(id))

    def thumbnail(self, id: str, size: int = 256, number: int = 0) -> bytes:
        """Returns picture `number` of an item as WebP; it fits into a square of `size` pixels (96, 256 or 512)."""
        return self._send(calls.thumbnail(id, size, number))

    def put(
        self, id: str, picture: Picture, title: str = "", attributes: Mapping[str, Any] | None = None
    ) -> schemas.WriteAnswer:
        """Adds or replaces one item."""
        return self._send(calls.put(NewItem(id, picture, title, attributes or {})))

    def put_many(self, items: Iterable[NewItem]) -> schemas.WriteAnswer:
        """Adds or replaces items in batches. An error leaves earlier batches written; putting them again is safe."""
        return calls.total([self._send(call) for call in calls.put_batches(items)])

    def delete(self, id: str) -> schemas.WriteAnswer:
        """Deletes one item."""
        return self._send(calls.delete(id))

    def feedback(
        self, chosen: str, *, reference: str | None = None, texts: Sequence[str] = (), generation: str | None = None
    ) -> schemas.FeedbackAnswer:
        """Stores which item a person chose for a query."""
        return self._send(calls.feedback(chosen=chosen, reference=reference, texts=texts, generation=generation))

    def model(self) -> schemas.ModelAnswer:
        """Returns the served model and catalog."""
        return self._send(calls.model())

    def ready(self) -> bool:
        """Returns whether the service can search now; raises ServiceError if it cannot be reached."""
        return self._send(calls.ready())

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _send(self, call: Call[T]) -> T:
        def once() -> T:
            return read_answer(call, self._http.request(call.method, call.path, **call.content))

        with connection_errors(self._http):
            return Retrying(**retry_policy(call, self._retries))(once)


class AsyncClient:
    """A client for asyncio; see `Client`. Reads and encodes pictures in the event loop."""

    def __init__(self, base_url: str, api_key: str | None = None, timeout: float = 30.0, retries: int = 3) -> None:
        """Takes the arguments of `Client`."""
        self._http = httpx.AsyncClient(**http_settings(base_url, api_key, timeout))
        self._retries = retries

    async def search(
        self,
        reference: str | None = None,
        *,
        image_number: int = 0,
        picture: Picture | None = None,
        references: Sequence[Reference] = (),
        text: str | None = None,
        refinements: Sequence[str] = (),
        text_weight: float | None = None,
        unwanted: Sequence[schemas.Unwanted] = (),
        filter: Mapping[str, Any] | None = None,
        limit: int = 20,
        offset: int = 0,
        include_reference: bool = False,
        rerank: int | None = None,
    ) -> schemas.SearchAnswer:
        """Searches with an item's id or a picture, a text, or both; see `schemas.SearchRequest`.

        `image_number` chooses a picture of the reference item; 0 is the main one. Give several `references` instead of
        one reference to combine them. The search moves away from what is `unwanted`. `rerank` is the number of first
        hits that the model's reranker scores again.
        """
        return await self._send(
            calls.search(
                reference,
                picture,
                image_number,
                references,
                unwanted,
                text=text,
                refinements=refinements,
                text_weight=text_weight,
                filter=filter or {},
                limit=limit,
                offset=offset,
                include_reference=include_reference,
                rerank=None if rerank is None else {"top": rerank},
            )
        )

    async def items(
        self, filter: Mapping[str, Any] | None = None, limit: int = 100
    ) -> AsyncIterator[schemas.ItemAnswer]:
        """Yields all items that match the filter, fetched in pages of `limit`."""
        call: Call[schemas.ItemPage] | None = calls.browse(filter, limit)
        while call:
            page = await self._send(call)
            for item in page.items:
                yield item
            call = calls.browse(filter, limit, page.cursor) if page.cursor else None

    async def item(self, id: str) -> schemas.ItemAnswer:
        """Returns one item."""
        return await self._send(calls.item(id))

    async def thumbnail(self, id: str, size: int = 256, number: int = 0) -> bytes:
        """Returns picture `number` of an item as WebP; it fits into a square of `size` pixels (96, 256 or 512)."""
        return await self._send(calls.thumbnail(id, size, number))

    async def put(
        self, id: str, picture: Picture, title: str = "", attributes: Mapping[str, Any] | None = None
    ) -> schemas.WriteAnswer:
        """Adds or replaces one item."""
        return await self._send(calls.put(NewItem(id, picture, title, attributes or {})))

    async def put_many(self, items: Iterable[NewItem]) -> schemas.WriteAnswer:
        """Adds or replaces items in batches. An error leaves earlier batches written; putting them again is safe."""
        return calls.total([await self._send(call) for call in calls.put_batches(items)])

    async def delete(self, id: str) -> schemas.WriteAnswer:
        """Deletes one item."""
        return await self._send(calls.delete(id))

    async def feedback(
        self, chosen: str, *, reference: str | None = None, texts: Sequence[str] = (), generation: str | None = None
    ) -> schemas.FeedbackAnswer:
        """Stores which item a person chose for a query."""
        return await self._send(calls.feedback(chosen=chosen, reference=reference, texts=texts, generation=generation))

    async def model(self) -> schemas.ModelAnswer:
        """Returns the served model and catalog."""
        return await self._send(calls.model())

    async def ready(self) -> bool:
        """Returns whether the service can search now; raises ServiceError if it cannot be reached."""
        return await self._send(calls.ready())

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _send(self, call: Call[T]) -> T:
        async def once() -> T:
            return read_answer(call, await self._http.request(call.method, call.path, **call.content))

        with connection_errors(self._http):
            return await AsyncRetrying(**retry_policy(call, self._retries))(once)
