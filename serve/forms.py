"""Reads a search from a JSON body, or from a multipart form with a picture file.

FastAPI declares one kind of body for an operation, and takes the last value of a repeated form field. So the kind of
body is chosen here, and repeated fields are errors.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Request
from pydantic import BeforeValidator, ConfigDict, Field, Json, WithJsonSchema
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from cirray.client.schemas import (
    MAX_REFERENCES,
    ImageNumber,
    ItemId,
    Rerank,
    SearchFields,
    SearchRequest,
    Sentence,
    Unwanted,
)
from cirray.data.filters import Filter

JSON = "application/json"
FORM = "multipart/form-data"


_NO_FILE = "must be a file: with curl, -F image=@FILE"


def _is_file(value: Any) -> Any:
    if not isinstance(value, bytes):
        raise ValueError(_NO_FILE)
    return value


FormFile = Annotated[bytes | None, BeforeValidator(_is_file), WithJsonSchema({"type": "string", "format": "binary"})]


_FILE = re.compile(r"references\[(\d)\]\.image")


def _describe_files(schema: dict[str, Any]) -> None:
    """Adds the files of several references to the schema of a form."""
    for number in range(MAX_REFERENCES):
        about = f"the picture of number {number} of references, a picture file"
        schema["properties"][f"references[{number}].image"] = {
            "type": "string",
            "contentMediaType": "application/octet-stream",
            "description": about,
        }


class SearchForm(SearchFields):
    """A search as the fields of a form."""

    model_config = ConfigDict(json_schema_extra=_describe_files)

    image: FormFile = Field(default_factory=lambda: None, description="the reference image, a picture file")
    id: ItemId | None = Field(None, description="id of the reference item, instead of image")
    image_number: ImageNumber = Field(0, description="which picture of the reference item; 0 is the main one")
    references: Json[list[dict[str, Any]]] = Field(
        default_factory=list, description="JSON list of several references; references[0].image is the first one's file"
    )
    unwanted: Json[list[Unwanted]] = Field(
        default_factory=list, alias="not", description="JSON list of what the search should move away from"
    )
    refinements: Json[list[Sentence]] = Field(default_factory=list, description="JSON list of sentences")
    filter: Json[Filter] = Field(default_factory=Filter, description="filter as JSON")
    rerank: Json[Rerank] | None = Field(None, description="reranking as JSON")

    def request(self, files: Mapping[int, Any]) -> SearchRequest:
        """Returns the search as the JSON body's model.

        Args:
            files: number of a reference -> its picture file.

        Raises:
            ValidationError: the fields do not fit together.
            HTTPException: 422, a file is none, or has no reference, or one that has a picture.
        """
        values = {name: getattr(self, name) for name in self.model_fields_set & SearchFields.model_fields.keys()}
        values["not"] = values.pop("unwanted", [])
        values["references"] = [dict(reference) for reference in self.references]
        for number, file in files.items():
            if not isinstance(file, bytes):
                raise HTTPException(422, f"references[{number}].image: {_NO_FILE}")
            if number >= len(self.references) or self.references[number].get("image") is not None:
                raise HTTPException(422, f"references[{number}].image: references has no entry for this file")
            values["references"][number]["image"] = file
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
    async with request.form(max_files=1 + MAX_REFERENCES, max_fields=len(SearchForm.model_fields)) as form:
        values = await _values(form)
        files = {int(match[1]): values.pop(name) for name in list(values) if (match := _FILE.fullmatch(name))}
        return SearchForm.model_validate(values).request(files)


async def _values(form: FormData) -> dict[str, Any]:
    """Returns the form's fields, with the bytes of the pictures."""
    repeated = sorted(name for name, count in Counter(name for name, _ in form.multi_items()).items() if count > 1)
    if repeated:
        raise HTTPException(422, f"form fields are given twice: {', '.join(repeated)}")
    values: dict[str, Any] = dict(form)
    for name, value in values.items():
        if isinstance(value, UploadFile) and (name == "image" or _FILE.fullmatch(name)):
            values[name] = await value.read()
    return values
