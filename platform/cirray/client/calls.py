"""The endpoints of the API as calls: what is sent, and how the answer is read. A client only sends them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from cirray.client import schemas
from cirray.client.errors import ServiceError, field_name
from cirray.client.pictures import Picture, picture_file
from cirray.data.filters import Filter

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

# Bytes of the pictures in a batch. Base64 adds a third: a batch stays below the service's default limit of 10 MB.
BATCH_BYTES = 6_000_000
_SEARCH = "/v1/search"
_ITEM_ID: TypeAdapter[str] = TypeAdapter(schemas.ItemId)


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to put: its id, its picture (a path, the bytes of a file, or a PIL image), title and attributes."""

    id: str
    picture: Picture
    title: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reference:
    """One of several references of a search: an item's id or a picture, with a text and a weight of its own.

    Attributes:
        id: id of an item, or
        picture: a path, the bytes of a file, or a PIL image.
        text: the relative caption of this reference.
        weight: weight among the references; only ratios matter.
        image_number: which picture of the item; 0 is the main one.
    """

    id: str | None = None
    picture: Picture | None = None
    text: str | None = None
    weight: float = 1.0
    image_number: int = 0


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and how its answer is read.

    Attributes:
        read: makes the result of the response; raises ValidationError if it is not an answer of the service.
        content: params, json, data and files as httpx takes them.
        expected: statuses other than 2xx that are not errors.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    content: Mapping[str, Any] = field(default_factory=dict)
    expected: tuple[int, ...] = ()

    @property
    def only_reads(self) -> bool:
        """Whether the request changes nothing and may be sent twice."""
        return self.method == "GET" or self.path == _SEARCH


def search(
    reference: str | None,
    picture: Picture | None,
    image_number: int = 0,
    references: Sequence[Reference] = (),
    unwanted: Sequence[schemas.Unwanted] = (),
    **fields: Any,
) -> Call[schemas.SearchAnswer]:
    """Searches with an item's id, a picture, several references, a text, or a combination.

    Args:
        reference: id of an item.
        picture: a picture of the caller's.
        image_number: which picture of the item; 0 is the main one.
        references: several references, instead of these three.
        unwanted: what the search should move away from.
        fields: the others of `schemas.SearchFields`.
    """
    name, content = (None, None) if picture is None else picture_file(picture)
    if reference is not None or content is not None:
        fields["reference"] = {"id": reference, "image": content, "image_number": image_number}
    fields |= {"references": [_reference(each) for each in references], "not": list(unwanted)}
    request = _validated(schemas.SearchRequest, **fields)
    read = _reads(schemas.SearchAnswer)
    if content is None:
        return Call("POST", _SEARCH, read, {"json": _json(request)})
    form = {key: value if key == "text" else json.dumps(value) for key, value in _json(request, "reference").items()}
    return Call("POST", _SEARCH, read, {"data": form, "files": {"image": (name, content)}})


def _reference(reference: Reference) -> dict[str, Any]:
    """Returns a reference as the values of `schemas.WeightedReference`."""
    image = None if reference.picture is None else picture_file(reference.picture)[1]
    return {
        "id": reference.id,
        "image": image,
        "image_number": reference.image_number,
        "text": reference.text,
        "weight": reference.weight,
    }


def browse(filter: Mapping[str, Any] | None, limit: int, cursor: str | None = None) -> Call[schemas.ItemPage]:
    """Gets one page of items."""
    params: dict[str, Any] = {"limit": limit}
    if cursor:
        params["cursor"] = cursor
    if filter:
        params["filter"] = json.dumps(_json(_validated(_Filtered, filter=filter))["filter"])
    return Call("GET", "/v1/items", _reads(schemas.ItemPage), {"params": params})


class _Filtered(BaseModel):
    """Names the field in errors of a filter."""

    filter: Filter


def item(identifier: str) -> Call[schemas.ItemAnswer]:
    """Gets an item."""
    return Call("GET", _item_path(identifier), _reads(schemas.ItemAnswer))


def thumbnail(identifier: str, size: int, number: int = 0) -> Call[bytes]:
    """Gets the bytes of the thumbnail of an item's picture."""
    params = {"size": size, **({"number": number} if number else {})}
    return Call("GET", f"{_item_path(identifier)}/image", lambda response: response.content, {"params": params})


def put(item: NewItem) -> Call[schemas.WriteAnswer]:
    """Adds or replaces an item."""
    path = _item_path(item.id)
    _, image = picture_file(item.picture)
    body = _validated(schemas.ItemWrite, image=image, title=item.title, attributes=item.attributes)
    return Call("PUT", path, _reads(schemas.WriteAnswer), {"json": _json(body)})


def put_batches(items: Iterable[NewItem]) -> Iterator[Call[schemas.WriteAnswer]]:
    """Yields one call per batch of items. Reads the pictures of one batch at a time."""
    batch: list[schemas.ItemPut] = []
    size = 0
    for item in items:
        _, image = picture_file(item.picture)
        if batch and (len(batch) == schemas.MAX_BATCH or size + len(image) > BATCH_BYTES):
            yield _put_batch(batch)
            batch, size = [], 0
        batch.append(_validated(schemas.ItemPut, id=item.id, image=image, title=item.title, attributes=item.attributes))
        size += len(image)
    if batch:
        yield _put_batch(batch)


def _put_batch(items: Sequence[schemas.ItemPut]) -> Call[schemas.WriteAnswer]:
    body = {"put": [_json(item) for item in items]}
    return Call("POST", "/v1/items/batch", _reads(schemas.WriteAnswer), {"json": body})


def total(answers: Sequence[schemas.WriteAnswer]) -> schemas.WriteAnswer:
    """Returns the sum of several writes."""
    return schemas.WriteAnswer(
        put=sum(answer.put for answer in answers), deleted=sum(answer.deleted for answer in answers)
    )


def delete(identifier: str) -> Call[schemas.WriteAnswer]:
    """Deletes an item."""
    return Call("DELETE", _item_path(identifier), _reads(schemas.WriteAnswer))


def feedback(**fields: Any) -> Call[schemas.FeedbackAnswer]:
    """Stores feedback with the fields of `schemas.Feedback`."""
    body = _validated(schemas.Feedback, **fields)
    return Call("POST", "/v1/feedback", _reads(schemas.FeedbackAnswer), {"json": _json(body)})


def model() -> Call[schemas.ModelAnswer]:
    """Gets the served model."""
    return Call("GET", "/v1/model", _reads(schemas.ModelAnswer))


def ready() -> Call[bool]:
    """Gets whether the service can search."""
    return Call("GET", "/readyz", lambda response: response.is_success, expected=(503,))


def _item_path(identifier: str) -> str:
    try:
        _ITEM_ID.validate_python(identifier)
    except ValidationError as error:
        raise ServiceError(f"the id {identifier!r} cannot be sent: {_details(error)}") from None
    # "." and ".." would be read as steps of the path
    return "/v1/items/" + ("%2E" * len(identifier) if identifier in (".", "..") else quote(identifier, safe=""))


def _validated(model: type[M], **values: Any) -> M:
    """Builds a request; raises ServiceError if the service would refuse it."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ServiceError(f"the request cannot be sent: {_details(error)}") from None


def _details(error: ValidationError) -> str:
    parts = [(field_name(part["loc"]), part["msg"].removeprefix("Value error, ")) for part in error.errors()]
    return "; ".join(f"{where}: {what}" if where else what for where, what in parts)


def _json(model: BaseModel, *without: str) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=set(without))


def _reads(model: type[M]) -> Callable[[httpx.Response], M]:
    return lambda response: model.model_validate_json(response.content)
