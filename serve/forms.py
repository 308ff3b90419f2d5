"""Reads a search from a JSON body, or from a multipart form with a picture file.

FastAPI declares one kind of body for an operation, and takes the last value of a repeated form field. So the kind of
body is chosen here, and repeated fields are errors.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from fastapi import Request
from pydantic import BeforeValidator, Field, Json, WithJsonSchema
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from cirray.client.schemas import ImageNumber, ItemId, Rerank, SearchFields, SearchRequest, Sentence
from cirray.data.filters import Filter

JSON = "application/json"
FORM = "multipart/form-data"


def _is_file(value: Any) -> Any:
    if not isinstance(value, bytes):
        raise ValueError("must be a file: with curl, -F image=@FILE")
    return value


FormFile = Annotated[bytes | None, BeforeValidator(_is_file), WithJsonSchema({"type": "string", "format": "binary"})]


class SearchForm(SearchFields):
    """A search as the fields of a form."""

    image: FormFile = Field(default_factory=lambda: None, description="the reference image, a picture file")
    id: ItemId | None = Field(None, description="id of the reference item, instead of image")
    image_number: ImageNumber = Field(0, description="which picture of the reference item; 0 is the main one")
    refinements: Json[list[Sentence]] = Field(default_factory=list, description="JSON list of sentences")
    filter: Json[Filter] = Field(default_factory=Filter, description="filter as JSON")
    rerank: Json[Rerank] | None = Field(None, description="reranking as JSON")

    def request(self) -> SearchRequest:
        """Returns the search as the JSON body's model. Raises ValidationError if its fields do not fit together."""
        values = {name: getattr(self, name) for name in self.model_fields_set & SearchFields.model_fields.keys()}
        if self.id is not None or self.image is not None:
            values["reference"] = {"id": self.id, "image": self.image, "image_number": self.image_number}
        return SearchRequest.model_validate(values)


async def read_search(request: Request) -> SearchRequest:
    """Reads the body of a search.

    Raises:
        ValidationError: a field is wrong.
        HTTPException: 415 for another content type, 400 for a form that cannot be parsed, 422 for a repeated field.
    """
    content_type, parameters = parse_options_header(request.headers.get("content-type", ""))
    kind = content_type.decode("latin-1").lower()
    if kind == JSON:
        return SearchRequest.model_validate_json(await request.body())
    if kind != FORM:
        raise HTTPException(415, f"send {JSON} or {FORM}, not {kind or 'nothing'}")
    if parameters.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise HTTPException(415, "send the form in UTF-8")
    async with request.form(max_files=1, max_fields=len(SearchForm.model_fields)) as form:
        return SearchForm.model_validate(await _values(form)).request()


async def _values(form: FormData) -> dict[str, Any]:
    """Returns the form's fields, with the bytes of the picture."""
    repeated = sorted(name for name, count in Counter(name for name, _ in form.multi_items()).items() if count > 1)
    if repeated:
        raise HTTPException(422, f"form fields are given twice: {', '.join(repeated)}")
    values: dict[str, Any] = dict(form)
    if isinstance(values.get("image"), UploadFile):
        values["image"] = await values["image"].read()
    return values
