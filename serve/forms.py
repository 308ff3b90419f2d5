"""Reads a search request from JSON or from a form with a picture file."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from cirray.client.schemas import SearchRequest

FORM = "multipart/form-data"
_JSON_FIELDS = ("refinements", "filter")
_FIELDS = ("text", "text_weight", "weight", "limit", "offset", "include_reference", "id", *_JSON_FIELDS)


async def read_search(request: Request) -> tuple[SearchRequest, bytes | None]:
    """Returns the query, and the uploaded picture's bytes where there is one.

    Raises:
        ValidationError: the request does not fit.
        HTTPException: 415 for another content type, 400 for a form that cannot be read.
    """
    named, parameters = parse_options_header(request.headers.get("content-type", ""))
    kind = named.decode("latin-1").lower()
    if kind == "application/json":
        return SearchRequest.model_validate_json(await request.body()), None
    if kind != FORM:
        raise HTTPException(415, f"send application/json or {FORM}, not {kind or 'nothing'}")
    if parameters.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise HTTPException(415, "send the form in UTF-8")
    async with request.form(max_files=1, max_fields=len(_FIELDS) + 1) as form:
        upload = form.get("image")
        if upload is not None and not isinstance(upload, UploadFile):
            raise HTTPException(422, "image must be a file: with curl, -F image=@FILE")
        picture = await upload.read() if upload is not None else None
        return _from_form(form, picture is not None), picture


def _from_form(form: FormData, has_picture: bool) -> SearchRequest:
    """Builds the request of a form's text fields. Its picture stands for the reference image."""
    unknown = [name for name in form if name not in (*_FIELDS, "image")]
    if unknown:
        raise HTTPException(
            422, f"unknown form fields {', '.join(unknown)[:100]}: there are image, {', '.join(_FIELDS)}"
        )
    repeated = sorted({name for name in form if len(form.getlist(name)) > 1})
    if repeated:
        raise HTTPException(422, f"form fields are given twice: {', '.join(repeated)}")
    values: dict[str, Any] = {name: form[name] for name in _FIELDS if name in form}
    for name in _JSON_FIELDS:
        if name in values:
            values[name] = _json(name, values[name])
    identifier = values.pop("id", None)
    if identifier is not None and has_picture:
        raise HTTPException(422, "give either image or id as the reference, not both")
    if identifier is not None:
        values["reference"] = {"id": identifier}
    if has_picture:
        return _with_picture(values)
    return SearchRequest.model_validate(values)


def _with_picture(values: dict[str, Any]) -> SearchRequest:
    """Validates as if the picture were an item: what a reference allows, a picture allows."""
    checked = SearchRequest.model_validate({**values, "reference": {"id": "uploaded"}})
    return checked.model_copy(update={"reference": None})


def _json(name: str, text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise HTTPException(422, f"form field {name} must be JSON") from None
