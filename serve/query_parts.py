"""From a search request to the encoder's input: of items the stored features, of pictures the pixels."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import numpy as np

from cirray.client import schemas
from cirray.data.captions import query_caption
from cirray.index.backend import Reader
from serve.answers import Clock
from serve.catalog import Catalog
from serve.encoder_types import ComposedInput, QueryInput
from serve.errors import NoSuchItemError
from serve.model import ServedModel

# An item's id, and the number of one of its pictures.
_Picture = tuple[str, int]


async def query_parts(
    request: schemas.SearchRequest, reader: Reader, catalog: Catalog, model: ServedModel, clock: Clock
) -> ComposedInput:
    """Returns the parts of a query; without a reference, its text is the only wanted part.

    Raises:
        NoSuchItemError: there is no such item; the message names its field.
        PictureError: a picture cannot be read; likewise.
    """
    references = request.all_references
    unwanted = {f"not[{number}]": entry for number, entry in enumerate(request.unwanted)}
    pixels = await _pixels(references, model)
    clock.lap("read")
    features = await _stored_features({**references, **unwanted}, reader, catalog)
    clock.lap("reference")
    wanted = [
        _wanted(reference, request, features.get(field), pixels.get(field)) for field, reference in references.items()
    ]
    return ComposedInput(
        tuple(wanted) or (QueryInput(text=query_caption(request.texts)),),
        tuple(reference.weight for reference in references.values()) or (1.0,),
        tuple(QueryInput(features.get(field), text=entry.text) for field, entry in unwanted.items()),
    )


def _wanted(
    reference: schemas.WeightedReference,
    request: schemas.SearchRequest,
    feature: np.ndarray | None,
    pixels: np.ndarray | None,
) -> QueryInput:
    """Returns a reference with its caption: its own text, then those of the whole request."""
    texts = (*([reference.text] if reference.text else []), *request.texts)
    if not texts:
        return QueryInput(feature, pixels)
    return QueryInput(feature, pixels, query_caption(texts), request.text_weight)


async def _pixels(references: dict[str, schemas.WeightedReference], model: ServedModel) -> dict[str, np.ndarray]:
    """Returns the pixels of the references that are pictures, by field."""
    pictures = {field: reference.image for field, reference in references.items() if reference.image is not None}
    names = {field: "the reference picture" if field == "reference" else f"{field}.image" for field in pictures}
    decoded = await asyncio.gather(*(model.pixels(content, names[field]) for field, content in pictures.items()))
    return dict(zip(pictures, decoded, strict=True))


async def _stored_features(
    entries: dict[str, schemas.WeightedReference | schemas.Unwanted], reader: Reader, catalog: Catalog
) -> dict[str, np.ndarray]:
    """Returns the stored raw image features [d] of the entries that are items, by field."""
    items = {field: (entry.id, entry.image_number) for field, entry in entries.items() if entry.id is not None}
    found = await _features(set(items.values()), reader, catalog)
    for field, picture in items.items():
        if picture not in found:
            raise NoSuchItemError(_missing(field, picture))
    return {field: found[picture] for field, picture in items.items()}


async def _features(pictures: Collection[_Picture], reader: Reader, catalog: Catalog) -> dict[_Picture, np.ndarray]:
    """Returns the stored raw image features [d] of the pictures that exist; one call of the index for each number."""
    found: dict[_Picture, np.ndarray] = {}
    for number in {number for _, number in pictures}:
        ids = [identifier for identifier, other in pictures if other == number]
        features = await catalog.call(reader.features, ids, number)
        found |= {(identifier, number): feature for identifier, feature in features.items()}
    return found


def _missing(field: str, picture: _Picture) -> str:
    identifier, number = picture
    what = f"there is no item {identifier!r}" + (f" with a picture number {number}" if number else "")
    return f"{what} to start from" if field == "reference" else f"{field}.id: {what}"
