"""A Python client of the search service, sync and async.

    with Client("http://localhost:8000") as client:
        answer = client.search("dress-17", text="in red and with longer sleeves")
        answer = client.search(picture="photo.jpg", text="in red", filter={"price": {"lt": 50}})

Every endpoint is a `_Call`: what is sent, and how the answer is read. The two clients only differ in who sends it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Generic, Self, TypeVar
from urllib.parse import quote

import httpx
from PIL import Image, ImageOps
from pydantic import BaseModel, TypeAdapter, ValidationError
from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from cirray.client import schemas
from cirray.data.filters import Filter
from cirray.errors import CirrayError, ConfigError, DataError

Picture = str | os.PathLike[str] | bytes | Image.Image
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

LONGEST_WAIT_S = 30.0
FIRST_WAIT_S = 0.2
# Base64 characters a batch: below the service's default limit of 10 MB for a request.
BATCH_BYTES = 8_000_000
_SEARCH = "/v1/search"
_ITEM_ID: TypeAdapter[str] = TypeAdapter(schemas.ItemId)
_PNG_MODES = ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")
_BUSY = (429, 503)


class ServiceError(CirrayError):
    """The service refused a request, cannot be reached, or answered something else; or the request cannot be sent.

    Attributes:
        status: the HTTP status; None if there was no answer.
        problem: what the service said, if it answered with a problem (RFC 9457).
        retry_after: seconds after which the service wants to be asked again; None if it did not say so.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        problem: schemas.Problem | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to put: its id, its picture (a path, the bytes of a file, or a PIL image), title and attributes."""

    id: str
    picture: Picture
    title: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


class Client:
    """The service, for programs without asyncio. Thread-safe.

    A request that the service refuses for now (429, 503 with Retry-After) is sent again after the wait it asks for, at
    most 30 s; one that gets no answer is sent again if it only reads. All methods raise ServiceError, and DataError if
    a picture file cannot be read.
    """

    def __init__(self, base_url: str, api_key: str | None = None, timeout: float = 30.0, retries: int = 3) -> None:
        """
        Args:
            base_url: the service's address, such as http://localhost:8000.
            api_key: the key; None takes CIRRAY_API_KEY from the environment.
            timeout: seconds to wait for a connection, and for each part of an answer.
            retries: how often a request is sent again.

        Raises:
            ConfigError: base_url is no address, or the key no key.
        """
        self._http = httpx.Client(**_settings(base_url, api_key, timeout))
        self._retries = retries

    def search(
        self,
        reference: str | None = None,
        *,
        picture: Picture | None = None,
        text: str | None = None,
        refinements: Sequence[str] = (),
        text_weight: float | None = None,
        filter: Mapping[str, Any] | None = None,
        limit: int = 20,
        offset: int = 0,
        include_reference: bool = False,
    ) -> schemas.SearchAnswer:
        """Searches with an item's id or a picture, a text, or both; see `schemas.SearchRequest`."""
        return self._send(
            _search(reference, picture, text, refinements, text_weight, filter, limit, offset, include_reference)
        )

    def items(self, filter: Mapping[str, Any] | None = None, limit: int = 100) -> Iterator[schemas.ItemAnswer]:
        """Yields all items that fit the filter, fetched in pages of `limit`."""
        call: _Call[schemas.ItemPage] | None = _page(filter, limit)
        while call:
            page = self._send(call)
            yield from page.items
            call = _page(filter, limit, page.cursor) if page.cursor else None

    def item(self, id: str) -> schemas.ItemAnswer:
        """Returns one item."""
        return self._send(_item(id))

    def thumbnail(self, id: str, size: int = 256) -> bytes:
        """Returns an item's picture, scaled into a square of `size` pixels (96, 256 or 512), as a file's bytes."""
        return self._send(_thumbnail(id, size))

    def put(
        self, id: str, picture: Picture, title: str = "", attributes: Mapping[str, Any] | None = None
    ) -> schemas.WriteAnswer:
        """Adds or replaces one item."""
        return self._send(_put(NewItem(id, picture, title, attributes or {})))

    def put_many(self, items: Iterable[NewItem]) -> schemas.WriteAnswer:
        """Adds or replaces items in batches. After an error the earlier batches are done; they may be put again."""
        return _total([self._send(call) for call in _batches(items)])

    def delete(self, id: str) -> schemas.WriteAnswer:
        """Deletes one item."""
        return self._send(_delete(id))

    def feedback(
        self, chosen: str, *, reference: str | None = None, texts: Sequence[str] = (), generation: str | None = None
    ) -> schemas.FeedbackAnswer:
        """Tells which item somebody chose for a query."""
        return self._send(_feedback(chosen, reference, texts, generation))

    def model(self) -> schemas.ModelAnswer:
        """Returns what is being served."""
        return self._send(_model())

    def ready(self) -> bool:
        """Returns whether the service can search now. A service that cannot be reached is an error."""
        return self._send(_ready())

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _send(self, call: _Call[T]) -> T:
        def once() -> T:
            return _answer(call, self._http.request(call.method, call.path, **call.content))

        with _in_words(self._http):
            return Retrying(**_policy(call, self._retries))(once)


class AsyncClient:
    """The service, for programs with asyncio; see `Client`. Pictures are read and encoded in the event loop."""

    def __init__(self, base_url: str, api_key: str | None = None, timeout: float = 30.0, retries: int = 3) -> None:
        """Takes what `Client` takes."""
        self._http = httpx.AsyncClient(**_settings(base_url, api_key, timeout))
        self._retries = retries

    async def search(
        self,
        reference: str | None = None,
        *,
        picture: Picture | None = None,
        text: str | None = None,
        refinements: Sequence[str] = (),
        text_weight: float | None = None,
        filter: Mapping[str, Any] | None = None,
        limit: int = 20,
        offset: int = 0,
        include_reference: bool = False,
    ) -> schemas.SearchAnswer:
        """Searches with an item's id or a picture, a text, or both; see `schemas.SearchRequest`."""
        return await self._send(
            _search(reference, picture, text, refinements, text_weight, filter, limit, offset, include_reference)
        )

    async def items(
        self, filter: Mapping[str, Any] | None = None, limit: int = 100
    ) -> AsyncIterator[schemas.ItemAnswer]:
        """Yields all items that fit the filter, fetched in pages of `limit`."""
        call: _Call[schemas.ItemPage] | None = _page(filter, limit)
        while call:
            page = await self._send(call)
            for item in page.items:
                yield item
            call = _page(filter, limit, page.cursor) if page.cursor else None

    async def item(self, id: str) -> schemas.ItemAnswer:
        """Returns one item."""
        return await self._send(_item(id))

    async def thumbnail(self, id: str, size: int = 256) -> bytes:
        """Returns an item's picture, scaled into a square of `size` pixels (96, 256 or 512), as a file's bytes."""
        return await self._send(_thumbnail(id, size))

    async def put(
        self, id: str, picture: Picture, title: str = "", attributes: Mapping[str, Any] | None = None
    ) -> schemas.WriteAnswer:
        """Adds or replaces one item."""
        return await self._send(_put(NewItem(id, picture, title, attributes or {})))

    async def put_many(self, items: Iterable[NewItem]) -> schemas.WriteAnswer:
        """Adds or replaces items in batches. After an error the earlier batches are done; they may be put again."""
        return _total([await self._send(call) for call in _batches(items)])

    async def delete(self, id: str) -> schemas.WriteAnswer:
        """Deletes one item."""
        return await self._send(_delete(id))

    async def feedback(
        self, chosen: str, *, reference: str | None = None, texts: Sequence[str] = (), generation: str | None = None
    ) -> schemas.FeedbackAnswer:
        """Tells which item somebody chose for a query."""
        return await self._send(_feedback(chosen, reference, texts, generation))

    async def model(self) -> schemas.ModelAnswer:
        """Returns what is being served."""
        return await self._send(_model())

    async def ready(self) -> bool:
        """Returns whether the service can search now. A service that cannot be reached is an error."""
        return await self._send(_ready())

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _send(self, call: _Call[T]) -> T:
        async def once() -> T:
            return _answer(call, await self._http.request(call.method, call.path, **call.content))

        with _in_words(self._http):
            return await AsyncRetrying(**_policy(call, self._retries))(once)


@dataclass(frozen=True, slots=True)
class _Call(Generic[T]):
    """One request and how its answer is read.

    Attributes:
        content: params, json, data and files as httpx takes them.
        expected: statuses other than 2xx that are no error.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    content: Mapping[str, Any] = field(default_factory=dict)
    expected: tuple[int, ...] = ()

    @property
    def only_reads(self) -> bool:
        """Whether sending it twice can change nothing."""
        return self.method == "GET" or self.path == _SEARCH


def _search(
    reference: str | None,
    picture: Picture | None,
    text: str | None,
    refinements: Sequence[str],
    text_weight: float | None,
    filter: Mapping[str, Any] | None,
    limit: int,
    offset: int,
    include_reference: bool,
) -> _Call[schemas.SearchAnswer]:
    # "file" stands for the picture: the request's own rules only need to know that there is one
    source = {"id": reference, "image": None if picture is None else "file"}
    request = _checked(
        schemas.SearchRequest,
        reference=None if reference is None and picture is None else source,
        text=text,
        refinements=refinements,
        text_weight=text_weight,
        filter=filter or {},
        limit=limit,
        offset=offset,
        include_reference=include_reference,
    )
    body = _dumped(request)
    if picture is None:
        return _Call("POST", _SEARCH, _as(schemas.SearchAnswer), {"json": body})
    fields = {
        name: value if name == "text" else json.dumps(value) for name, value in body.items() if name != "reference"
    }
    form = {"data": fields, "files": {"image": _file(picture)}}
    return _Call("POST", _SEARCH, _as(schemas.SearchAnswer), form)


def _page(filter: Mapping[str, Any] | None, limit: int, cursor: str | None = None) -> _Call[schemas.ItemPage]:
    params: dict[str, Any] = {"limit": limit}
    if cursor:
        params["cursor"] = cursor
    if filter:
        params["filter"] = json.dumps(_dumped(_checked(_Filtered, filter=filter))["filter"])
    return _Call("GET", "/v1/items", _as(schemas.ItemPage), {"params": params})


class _Filtered(BaseModel):
    """A filter alone, in a model so that errors name it."""

    filter: Filter


def _item(identifier: str) -> _Call[schemas.ItemAnswer]:
    return _Call("GET", _item_path(identifier), _as(schemas.ItemAnswer))


def _thumbnail(identifier: str, size: int) -> _Call[bytes]:
    return _Call(
        "GET", f"{_item_path(identifier)}/image", lambda response: response.content, {"params": {"size": size}}
    )


def _put(item: NewItem) -> _Call[schemas.WriteAnswer]:
    path = _item_path(item.id)
    body = _checked(schemas.ItemWrite, image=_base64(item.picture), title=item.title, attributes=item.attributes)
    return _Call("PUT", path, _as(schemas.WriteAnswer), {"json": _dumped(body)})


def _batches(items: Iterable[NewItem]) -> Iterator[_Call[schemas.WriteAnswer]]:
    """Yields a request for each batch; pictures are read when their batch's turn comes."""
    batch: list[schemas.ItemPut] = []
    size = 0
    for item in items:
        image = _base64(item.picture)
        if batch and (len(batch) == schemas.MAX_BATCH or size + len(image) > BATCH_BYTES):
            yield _batch(batch)
            batch, size = [], 0
        batch.append(_checked(schemas.ItemPut, id=item.id, image=image, title=item.title, attributes=item.attributes))
        size += len(image)
    if batch:
        yield _batch(batch)


def _batch(items: Sequence[schemas.ItemPut]) -> _Call[schemas.WriteAnswer]:
    return _Call(
        "POST", "/v1/items/batch", _as(schemas.WriteAnswer), {"json": {"put": [_dumped(item) for item in items]}}
    )


def _total(answers: Sequence[schemas.WriteAnswer]) -> schemas.WriteAnswer:
    return schemas.WriteAnswer(
        put=sum(answer.put for answer in answers), deleted=sum(answer.deleted for answer in answers)
    )


def _delete(identifier: str) -> _Call[schemas.WriteAnswer]:
    return _Call("DELETE", _item_path(identifier), _as(schemas.WriteAnswer))


def _feedback(
    chosen: str, reference: str | None, texts: Sequence[str], generation: str | None
) -> _Call[schemas.FeedbackAnswer]:
    body = _checked(schemas.Feedback, chosen=chosen, reference=reference, texts=texts, generation=generation)
    return _Call("POST", "/v1/feedback", _as(schemas.FeedbackAnswer), {"json": _dumped(body)})


def _model() -> _Call[schemas.ModelAnswer]:
    return _Call("GET", "/v1/model", _as(schemas.ModelAnswer))


def _ready() -> _Call[bool]:
    return _Call("GET", "/readyz", lambda response: response.is_success, expected=(503,))


def _item_path(identifier: str) -> str:
    try:
        _ITEM_ID.validate_python(identifier)
    except ValidationError as error:
        raise ServiceError(f"the id {identifier!r} cannot be sent: {_wrong(error)}") from None
    # "." and ".." would be taken for steps of the path
    return "/v1/items/" + ("%2E" * len(identifier) if identifier in (".", "..") else quote(identifier, safe=""))


def _checked(model: type[M], **values: Any) -> M:
    """Builds a request; one that the service would refuse is not sent."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ServiceError(f"the request cannot be sent: {_wrong(error)}") from None


def _wrong(error: ValidationError) -> str:
    parts = [(".".join(map(str, part["loc"])), part["msg"].removeprefix("Value error, ")) for part in error.errors()]
    return "; ".join(f"{where}: {what}" if where else what for where, what in parts)


def _dumped(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _file(picture: Picture) -> tuple[str, bytes]:
    """Returns name and content of a picture file; a PIL image becomes a PNG, turned as its EXIF orientation says."""
    if isinstance(picture, bytes):
        return "picture", picture
    if isinstance(picture, Image.Image):
        upright = ImageOps.exif_transpose(picture)
        content = BytesIO()
        (upright if upright.mode in _PNG_MODES else upright.convert("RGB")).save(content, "PNG")
        return "picture.png", content.getvalue()
    path = Path(picture)
    try:
        return path.name, path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _base64(picture: Picture) -> str:
    return base64.b64encode(_file(picture)[1]).decode("ascii")


def _settings(base_url: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    """Returns the arguments of httpx's client."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"base_url {base_url!r} is no address: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"base_url {base_url!r} is no address: write it as http://host:port")
    key = (os.environ.get("CIRRAY_API_KEY", "") if api_key is None else api_key).strip()
    if not (key.isascii() and key.isprintable()):  # httpx would show it in its error
        raise ConfigError("the API key (CIRRAY_API_KEY) has characters that no header can have: copy it again")
    return {"base_url": url, "headers": {"X-API-Key": key} if key else {}, "timeout": timeout}


def _policy(call: _Call[Any], retries: int) -> dict[str, Any]:
    """Returns the arguments of tenacity's retrying."""

    def may_help(error: BaseException) -> bool:
        if isinstance(error, ServiceError):
            return error.retry_after is not None
        return call.only_reads and isinstance(error, (httpx.NetworkError, httpx.RemoteProtocolError))

    return {
        "retry": retry_if_exception(may_help),
        "stop": stop_after_attempt(retries + 1),
        "wait": _wait,
        "reraise": True,
    }


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, ServiceError) and error.retry_after is not None:
        return min(error.retry_after, LONGEST_WAIT_S)
    return wait_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)(state)


@contextmanager
def _in_words(http: httpx.Client | httpx.AsyncClient) -> Iterator[None]:
    """Makes errors of the connection ours."""
    try:
        yield
    except httpx.TimeoutException:
        raise ServiceError(f"{http.base_url} did not answer in time: try again, or give more than timeout") from None
    except httpx.RequestError as error:
        reason = str(error) or type(error).__name__
        raise ServiceError(f"{http.base_url} cannot be reached ({reason}): check that the service runs there") from None


def _answer(call: _Call[T], response: httpx.Response) -> T:
    """Reads an answer.

    Raises:
        ServiceError: it is an error, or not what was expected.
    """
    status = response.status_code
    what = f"{call.method} {call.path}"
    if not response.is_success and status not in call.expected:
        problem = _problem(response)
        said = f"{problem.title}: {problem.detail}" if problem else response.reason_phrase
        raise ServiceError(f"{what} was answered with {status}: {said}", status, problem, _retry_after(response))
    try:
        return call.read(response)
    except ValidationError:
        raise ServiceError(
            f"{what} was answered with something else than expected: is a cirray service at {response.url}?", status
        ) from None


def _problem(response: httpx.Response) -> schemas.Problem | None:
    try:
        return schemas.Problem.model_validate_json(response.content)
    except ValidationError:
        return None


def _retry_after(response: httpx.Response) -> float | None:
    """Returns the seconds to wait; None where asking again would not help, or the service does not say when."""
    seconds = response.headers.get("Retry-After", "")
    return float(seconds) if response.status_code in _BUSY and seconds.isdecimal() else None


def _as(model: type[M]) -> Callable[[httpx.Response], M]:
    return lambda response: model.model_validate_json(response.content)
