"""Parts of the OpenAPI description that FastAPI cannot derive: the two bodies of a search, errors, examples."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from cirray.client.schemas import Problem, SearchRequest
from serve.forms import FORM, JSON, SearchForm
from serve.problems import MEDIA_TYPE

DESCRIPTION = "Search a picture catalog with a picture plus a sentence. Errors are RFC 9457 problems."
_REFERENCE = "#/components/schemas/{model}"
_COMMON = (400, 401, 422, 429, 500, 503, 504)

EXAMPLES: dict[str, Any] = {
    "composed": {"summary": "an item, but different", "value": {"reference": {"id": "D00141"}, "text": "in red"}},
    "similar": {"summary": "items like this one", "value": {"reference": {"id": "D00141"}, "limit": 5}},
    "text": {"summary": "a text alone", "value": {"text": "a red dress", "filter": {"category": "dress"}}},
    "conversation": {
        "summary": "one change after another",
        "value": {
            "reference": {"id": "D00141"},
            "text": "in red",
            "refinements": ["with long sleeves"],
            "text_weight": 0.6,
        },
    },
    "several references": {
        "summary": "two items, each with a text of its own, and not like something",
        "value": {
            "references": [
                {"id": "D00141", "text": "everything of this but the color"},
                {"id": "D00207", "text": "the color of this"},
            ],
            "not": [{"text": "stripes"}],
        },
    },
    "reranked": {
        "summary": "the first 50 hits in the reranker's order",
        "value": {"reference": {"id": "D00141"}, "text": "in red", "rerank": {"top": 50}},
    },
}
SEARCH_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": {"$ref": _REFERENCE.format(model="SearchRequest")}, "examples": EXAMPLES},
            FORM: {"schema": {"$ref": _REFERENCE.format(model="SearchForm")}},
        },
    }
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the `responses` of a route: the given errors, and those of every route."""
    return only(*_COMMON, *statuses)


def only(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the `responses` of a route with only the given errors."""
    content = {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}}
    return {status: {"content": content, "description": HTTPStatus(status).phrase} for status in sorted(statuses)}


def install(app: FastAPI) -> None:
    """Adds the schemas that `SEARCH_BODY` and `errors` refer to, which FastAPI does not collect from there."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            description = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            models: list[tuple[type[BaseModel], JsonSchemaMode]] = [
                (SearchRequest, "validation"),
                (SearchForm, "validation"),
                (Problem, "serialization"),
            ]
            _, found = models_json_schema(models, ref_template=_REFERENCE)
            description["components"]["schemas"].update(found["$defs"])
            app.openapi_schema = description
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]
