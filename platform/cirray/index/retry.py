"""A Qdrant client that retries transient errors and maps the rest to SearchIndexError.

qdrant_client itself does not retry, reports timeouts with an empty message, and raises an error that cannot be pickled,
which Ray needs. Every call made through here is idempotent, so that it may be repeated.
"""

from __future__ import annotations

import json
from typing import Any

import grpc  # type: ignore[import-untyped]
from pydantic import ValidationError
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from cirray.errors import IndexUnavailableError, SearchIndexError

ATTEMPTS = 4
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 2.0
_PORT = ", and that its gRPC port can be reached too (6334)"
_TRANSIENT = {408, 429, 502, 503, 504} | {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_DECODE_ERRORS = (json.JSONDecodeError, UnicodeDecodeError)
_UNAUTHORIZED = {401, 403, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


class RetryingClient:
    """Calls the methods of a QdrantClient by name, with up to `attempts` attempts each."""

    def __init__(self, client: QdrantClient, where: str, attempts: int = ATTEMPTS) -> None:
        self.client = client
        self.where = where
        self.attempts = attempts

    def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Calls a method of the client; retries transient errors with randomised exponential backoff.

        Raises:
            IndexUnavailableError: every attempt failed with a transient error (no answer, timeout, overload).
            SearchIndexError: the server rejected the request.
        """
        retrying = Retrying(
            retry=retry_if_exception(_is_transient),
            stop=stop_after_attempt(self.attempts),
            wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
            reraise=True,
        )
        try:
            return retrying(getattr(self.client, method), *arguments, **named)
        except (ResponseHandlingException, UnexpectedResponse, QdrantException, grpc.RpcError) as error:
            raise self._mapped_error(method, error) from None
        except _DECODE_ERRORS as error:
            raise self._mapped_error(method, error) from None
        except ValueError as error:  # raised by the client's local mode for a missing collection
            raise SearchIndexError(f"{self.where}: {method}: {error}") from None

    def _mapped_error(self, method: str, error: Exception) -> SearchIndexError:
        if _is_transient(error):
            return IndexUnavailableError(
                f"{self.where}: {method} failed {self.attempts} times ({_reason(error)}): check that Qdrant runs "
                f"there and that QDRANT_URL is right{_PORT if isinstance(error, grpc.RpcError) else ''}"
            )
        if _status(error) in _UNAUTHORIZED:
            return SearchIndexError(f"{self.where}: the key was refused: set QDRANT_API_KEY")
        return SearchIndexError(f"{self.where}: {method}: {_reason(error)}")


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, (UnexpectedResponse, grpc.RpcError)):
        return _status(error) in _TRANSIENT
    # The client also raises QdrantException for "too many requests" without a valid Retry-After.
    return isinstance(error, (ResponseHandlingException, QdrantException, *_DECODE_ERRORS))


def _status(error: BaseException) -> Any:
    if isinstance(error, grpc.RpcError):
        return error.code() if isinstance(error, grpc.Call) else None
    return getattr(error, "status_code", None)


def _reason(error: Exception) -> str:
    cause = error.source if isinstance(error, ResponseHandlingException) else error
    if isinstance(cause, (ValidationError, *_DECODE_ERRORS)):
        return "the response is not from Qdrant, or from an incompatible version"
    if cause is not error:
        return f"{type(cause).__name__} {cause}".strip()
    if isinstance(error, grpc.Call):
        return f"{_status(error)} {error.details()}"
    return str(error) or type(error).__name__
