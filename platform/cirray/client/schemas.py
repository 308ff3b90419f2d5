"""Requests and answers of the HTTP API as types, shared by the service and `cirray.client`.

Version 1 lives below /v1. Errors are RFC 9457 problems.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from cirray.config.registry import COMBINING_FUNCTIONS
from cirray.data.attributes import MAX_ID
from cirray.data.filters import ATTRIBUTE, Filter, Integer, Real, Text

MAX_LIMIT = 200
MAX_OFFSET = 10_000
MAX_REFINEMENTS = 8
MAX_REFERENCES = 4
MAX_UNWANTED = 4
MAX_RERANKED = 200
MAX_BATCH = 64
MAX_ATTRIBUTES = 64
# Above the largest upload that the configuration allows (100 MB); the limit of a service is usually lower.
MAX_PICTURE_BYTES = 105_000_000


def _from_base64(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError("is not base64: send the picture file's bytes in base64") from None


def _to_base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


# No control characters: an id goes into URLs, file names of reports and terminals.
ItemId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID, pattern=r"^[^\x00-\x1f\x7f]+$")]
Sentence = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"\S")]
Title = Annotated[str, StringConstraints(max_length=1000)]
# The bytes of a picture file; base64 in JSON.
PictureFile = Annotated[
    bytes,
    Field(min_length=1, max_length=MAX_PICTURE_BYTES),
    BeforeValidator(_from_base64),
    PlainSerializer(_to_base64, when_used="json"),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 4 * MAX_PICTURE_BYTES // 3}),
]
ImageNumber = Annotated[int, Field(ge=0, le=10_000)]
ReferenceWeight = Annotated[float, Field(gt=0.0, le=100.0, allow_inf_nan=False)]
TextWeight = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Value = bool | Integer | Real | Text | Annotated[list[Text], Field(max_length=64)]
Attributes = Annotated[
    dict[Annotated[str, StringConstraints(pattern=ATTRIBUTE)], Value], Field(max_length=MAX_ATTRIBUTES)
]


class Request(BaseModel):
    """Base of all requests. Unknown fields are errors, so that a misspelt field is not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)


class Answer(BaseModel):
    """Base of all answers. A client ignores fields that a newer service adds."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Reference(Request):
    """The reference image: an item of the catalog, or a picture."""

    id: ItemId | None = Field(None, description="id of a catalog item; its stored feature is used")
    image_number: ImageNumber = Field(0, description="which picture of the item; 0 is the main one")
    image: PictureFile | None = Field(None, description="a picture file, base64")

    @model_validator(mode="after")
    def _one_of_them(self) -> Reference:
        if (self.id is None) == (self.image is None):
            raise ValueError("give either id or image")
        if self.image_number and self.id is None:
            raise ValueError("image_number belongs to an id: leave it out")
        return self


class WeightedReference(Reference):
    """One of several references."""

    text: Sentence | None = Field(None, description="the relative caption of this reference; shared texts follow it")
    weight: ReferenceWeight = Field(1.0, description="weight among the references; only ratios matter")


class Unwanted(Request):
    """What a search should not find: an item of the catalog, or something that a text names."""

    id: ItemId | None = Field(None, description="id of a catalog item; its product is left out of the hits")
    image_number: ImageNumber = Field(0, description="which picture of the item; 0 is the main one")
    text: Sentence | None = Field(None, description='names it, such as "stripes", without a "not"')

    @model_validator(mode="after")
    def _one_of_them(self) -> Unwanted:
        if (self.id is None) == (self.text is None):
            raise ValueError("give either id or text")
        if self.image_number and self.id is None:
            raise ValueError("image_number belongs to an id: leave it out")
        return self


class Rerank(Request):
    """A second stage: the model's reranker scores the first hits again, and sorts them by its scores."""

    top: int = Field(50, ge=1, le=MAX_RERANKED, description="number of first hits; the order after them stays")


class SearchFields(Request):
    """All of a search except its reference image."""

    text: Sentence | None = Field(
        None, description="the relative caption: what should be different; shared by all references"
    )
    refinements: list[Sentence] = Field(
        default_factory=list,
        max_length=MAX_REFINEMENTS,
        description="further changes to the same reference, oldest first, as in a conversation",
    )
    text_weight: TextWeight | None = Field(
        None,
        validation_alias=AliasChoices("text_weight", "weight"),
        description="weight of the text against the reference, 0 to 1; replaces the weight that the model chooses",
    )
    unwanted: list[Unwanted] = Field(
        default_factory=list, alias="not", max_length=MAX_UNWANTED, description="what the search should move away from"
    )
    filter: Filter = Field(default_factory=Filter, description="attribute -> value, [values], {gte, lt, ...}, {not}")
    limit: int = Field(20, ge=1, le=MAX_LIMIT)
    offset: int = Field(0, ge=0, le=MAX_OFFSET)
    include_reference: bool = Field(False, description="whether the references' products may be among the hits")
    rerank: Rerank | None = Field(None, description="reranks the first hits of a reference with a text; null does not")

    @property
    def texts(self) -> tuple[str, ...]:
        """The changes, oldest first."""
        return (self.text, *self.refinements) if self.text is not None else ()


class SearchRequest(SearchFields):
    """A query. Reference and text: composed retrieval. Reference alone: similar items. Text alone: text search.

    Give one `reference`, or several `references`: then each may have a text and a weight of its own.
    """

    reference: Reference | None = Field(None, description="the reference image")
    references: list[WeightedReference] = Field(
        default_factory=list, max_length=MAX_REFERENCES, description="several reference images, instead of reference"
    )

    @model_validator(mode="after")
    def _has_a_query(self) -> SearchRequest:
        if self.reference is not None and self.references:
            raise ValueError("give either reference or references, not both")
        if not self.all_references and self.text is None:
            raise ValueError("give a reference, a text, or both")
        if self.refinements and self.text is None:
            raise ValueError("refinements follow a text: give the first change as text")
        if self.text_weight is not None and not (self.all_references and self.has_text):
            raise ValueError("text_weight balances a reference and a text: give both, or leave it out")
        if self.rerank is not None and (self.reference is None or self.text is None):
            raise ValueError("rerank needs a reference and a text: give both, or leave it out")
        return self

    @property
    def all_references(self) -> dict[str, WeightedReference]:
        """The references, by the name of their field."""
        if self.reference is not None:
            one = self.reference
            return {"reference": WeightedReference(id=one.id, image_number=one.image_number, image=one.image)}
        return {f"references[{number}]": reference for number, reference in enumerate(self.references)}

    @property
    def has_text(self) -> bool:
        """Whether any reference has a text, of its own or shared."""
        return self.text is not None or any(reference.text is not None for reference in self.references)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The ids of items whose products are left out of the hits."""
        references = () if self.include_reference else self.all_references.values()
        return tuple(entry.id for entry in (*references, *self.unwanted) if entry.id is not None)


class ItemAnswer(Answer):
    """An item of the catalog. Paths are below the service's address, and may have a query string."""

    id: str
    title: str
    attributes: dict[str, Any]
    image: str = Field(description="path of its main picture's thumbnail; in a hit, of the picture that matches best")
    images: list[str] = Field(default_factory=list, description="paths of the thumbnails of all its pictures, in order")
    group: str = Field("", description="id of its product, which may have further items: variants")


class HitAnswer(ItemAnswer):
    """The best item and picture of a product, and its cosine similarity to the query feature."""

    score: float
    image_number: int = Field(0, description="which picture matches best; 0 is the main one")
    rerank_score: float | None = Field(
        None, description="score of the reranker, which sorts the first hits; null if this hit was not reranked"
    )


class Timings(Answer):
    """Duration of each part of a search in milliseconds."""

    read: float = Field(description="reads the request and decodes its picture")
    reference: float = Field(description="fetches the stored features of the items in the request")
    encode: float = Field(description="runs towers and combining function, including transport and batching")
    search: float = Field(description="searches the index")
    rerank: float = Field(0.0, description="fetches the features of the first hits and reranks them; 0 if it does not")
    total: float


class SearchAnswer(Answer):
    """The hits of a search, best first, and how it was done."""

    hits: list[HitAnswer]
    text_weight: float | None = Field(
        description="weight of the text in the query feature (the paper's lambda), chosen by the model or set by "
        "the request; null if the model has none, for a query of one part, and for several references"
    )
    kind: Literal["composed", "similar", "text"]
    generation: str
    model: str = Field(description="the bundle's short fingerprint")
    timings_ms: Timings


class ItemPage(Answer):
    """One page of items."""

    items: list[ItemAnswer]
    cursor: str | None = Field(description="gets the next page; null on the last one")
    total: int = Field(description="number of items that match the filter")


class AttributeAnswer(Answer):
    """An attribute that filters can use."""

    name: str
    kind: Literal["keyword", "number", "bool"]
    values: list[tuple[str | bool, int]] = Field(description="the most frequent values, with their counts")
    minimum: float | None
    maximum: float | None


class ModelAnswer(Answer):
    """The served model and catalog."""

    name: str = Field(description="name of the catalog")
    model: str
    backbone: str
    combining: Annotated[str, WithJsonSchema({"type": "string", "enum": list(COMBINING_FUNCTIONS)})]
    has_text_weight: bool = Field(True, description="whether a request may set text_weight")
    has_reranker: bool = Field(False, description="whether a request may ask for reranking")
    dim: int
    metrics: dict[str, float]
    generation: str
    items: int
    attributes: list[AttributeAnswer]
    writable: bool = Field(description="whether items can be put and deleted over HTTP")
    key_needed: bool = Field(description="whether reading needs the API key")
    notices: list[str] = Field(description="messages for the operator, such as a refused bundle")


class ItemWrite(Request):
    """An item to put."""

    image: PictureFile = Field(description="the picture file, base64")
    title: Title = ""
    attributes: Attributes = Field(default_factory=dict)


class ItemPut(ItemWrite):
    """An item of a batch."""

    id: ItemId


class BatchWrite(Request):
    """Items to put and ids to delete, in this order."""

    put: list[ItemPut] = Field(default_factory=list, max_length=MAX_BATCH)
    delete: list[ItemId] = Field(default_factory=list, max_length=1024)

    @model_validator(mode="after")
    def _is_not_empty(self) -> BatchWrite:
        if not self.put and not self.delete:
            raise ValueError("give put, delete, or both")
        return self


class WriteAnswer(Answer):
    """Number of items put and deleted."""

    put: int
    deleted: int


class Feedback(Request):
    """The item that a person chose for a query."""

    reference: ItemId | None = Field(None, description="id of the reference item; null for an uploaded picture")
    texts: list[Sentence] = Field(default_factory=list, max_length=MAX_REFINEMENTS + 1)
    chosen: ItemId
    generation: Annotated[str, StringConstraints(max_length=64)] | None = None

    @model_validator(mode="after")
    def _has_a_query(self) -> Feedback:
        if self.reference is None and not self.texts:
            raise ValueError("give the query's reference, its texts, or both")
        return self


class FeedbackAnswer(Answer):
    """The feedback is stored."""

    id: str = Field(description="id of the feedback")


class Problem(Answer):
    """An error as in RFC 9457 (application/problem+json)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[dict[str, Any]] | None = Field(None, description="one entry per wrong field: where and what")
