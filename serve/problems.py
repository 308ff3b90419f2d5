"""Converts errors to RFC 9457 problems (application/problem+json) that say what to do."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from cirray.client.errors import field_name
from cirray.client.schemas import Problem
from cirray.data.images import PictureError
from cirray.errors import CirrayError, IndexUnavailableError, SearchIndexError
from serve.errors import (
    BusyError,
    FeedbackFullError,
    ModelChangedError,
    NoPictureError,
    NoSuchItemError,
    NotPublishedError,
    NotWritableError,
    UnfitRequestError,
)

MEDIA_TYPE = "application/problem+json"
_SHOWN_ERRORS = 20
_LONGEST_INPUT = 200
# The first matching class decides: (class, status, Retry-After in seconds).
_STATUS: tuple[tuple[type[CirrayError], int, int | None], ...] = (
    (NoSuchItemError, 404, None),
    (NoPictureError, 404, None),
    (NotWritableError, 409, None),
    (UnfitRequestError, 422, None),
    (PictureError, 422, None),
    (FeedbackFullError, 507, None),
    (NotPublishedError, 503, 5),
    (ModelChangedError, 503, 2),
    (IndexUnavailableError, 503, 2),
    (SearchIndexError, 503, 5),
)
# Messages of these name addresses and folders: they go to the log, not to clients.
_INTERNAL = (IndexUnavailableError, SearchIndexError)
_SHOWN = (NotPublishedError, ModelChangedError)
_log = logging.getLogger("cirray.serve")


def problem(
    status: int,
    detail: str,
    errors: list[dict[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Makes the response for an error."""
    content = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)
    return ProblemResponse(content.model_dump(exclude_none=True), status, dict(headers or {}))


class ProblemResponse(JSONResponse):
    """Renders ASCII only: a request may contain an unpaired surrogate, which UTF-8 cannot encode."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """Returns the body."""
        return json.dumps(content).encode()


def install(app: FastAPI) -> None:
    """Makes an app answer every error with a problem."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ValidationError, _invalid)
    app.add_exception_handler(CirrayError, _cirray)
    app.add_exception_handler(BusyError, _busy)
    app.add_exception_handler(Exception, _unexpected)


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), headers=error.headers)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, (RequestValidationError, ValidationError))
    found = [
        {"where": field_name(item["loc"]), "what": item["msg"].removeprefix("Value error, ")}
        for item in list(error.errors())[:_SHOWN_ERRORS]
    ]
    detail = "; ".join(f"{item['where']}: {item['what']}" if item["where"] else item["what"] for item in found[:3])
    return problem(422, detail[:_LONGEST_INPUT], errors=found)


def _cirray(request: Request, error: Exception) -> JSONResponse:
    for kind, status, retry_after in _STATUS:
        if isinstance(error, kind):
            internal = isinstance(error, _INTERNAL) and not isinstance(error, _SHOWN)
            if internal:
                _log.error("%s %s: %s", request.method, request.url.path, error)
            detail = "the catalog cannot be searched at the moment: see the service's log" if internal else str(error)
            return problem(status, detail, headers=_retry_after(retry_after))
    return _unexpected(request, error)


def _busy(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BusyError)
    return problem(503, "too many queries are waiting: try again later", headers=_retry_after(error.retry_after_s))


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, asyncio.CancelledError):
        raise error
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "internal error: see the service's log")


def _retry_after(seconds: int | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": str(seconds)}
