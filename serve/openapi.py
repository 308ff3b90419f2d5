"""What the OpenAPI description says beyond what FastAPI finds out: forms, errors, examples."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cirray.client.schemas import Problem, SearchRequest
from serve.forms import FORM
from serve.problems import MEDIA_TYPE

DESCRIPTION = "Search a picture catalog with a picture plus a sentence. Errors are RFC 9457 problems."
_REFERENCE = "#/components/schemas/{model}"
_COMMON = (400, 401, 422, 429, 500, 503, 504)

EXAMPLES: dict[str, Any] = {
    "composed": {"summary": "an item, but different", "value": {"reference": {"id": "D00141"}, "text": "in red"}},
    "similar": {"summary": "items like this one", "value": {"reference": {"id": "D00141"}, "limit": 5}},
    "text": {"summary": "by a sentence", "value": {"text": "a red dress", "filter": {"category": "dress"}}},
    "conversation": {
        "summary": "one change after another",
        "value": {
            "reference": {"id": "D00141"},
            "text": "in red",
            "refinements": ["with long sleeves"],
            "text_weight": 0.6,
        },
    },
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the `responses` of a route that may end with these and with the usual errors."""
    return only(*_COMMON, *statuses)


def only(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the `responses` of a route that may end with these errors."""
    return {status: {"model": Problem, "description": HTTPStatus(status).phrase} for status in sorted(statuses)}


def install(app: FastAPI) -> None:
    """Replaces the app's description by the completed one."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(
                get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            )
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]


def _complete(description: dict[str, Any]) -> dict[str, Any]:
    schemas = description["components"]["schemas"]
    request = SearchRequest.model_json_schema(ref_template=_REFERENCE)
    schemas.update(request.pop("$defs"))
    schemas["SearchRequest"] = request
    schemas["SearchForm"] = _form(request)
    description["paths"]["/v1/search"]["post"]["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": _REFERENCE.format(model="SearchRequest")}, "examples": EXAMPLES},
            FORM: {"schema": {"$ref": _REFERENCE.format(model="SearchForm")}},
        },
    }
    for path in description["paths"].values():
        for operation in path.values():
            _as_problems(operation["responses"])
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return description


def _form(request: dict[str, Any]) -> dict[str, Any]:
    """The form's fields: those of the JSON, flat, the picture as a file, the structured ones as JSON text."""
    simple = {
        name: request["properties"][name] for name in ("text", "text_weight", "limit", "offset", "include_reference")
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "image": {"type": "string", "format": "binary", "description": "the reference image, a picture file"},
            "id": {"type": "string", "description": "the reference item, in place of image"},
            **simple,
            "refinements": {"type": "string", "description": "JSON list of sentences"},
            "filter": {"type": "string", "description": "JSON filter"},
        },
    }


def _as_problems(responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        if status.startswith(("4", "5")) and "application/json" in response.get("content", {}):
            response["content"] = {MEDIA_TYPE: response["content"]["application/json"]}
