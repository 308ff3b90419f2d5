"""Calls of a Qdrant client that try again when that may help, and fail in our own types.

The client retries nothing itself, a timeout reaches its user with an empty message, and one of its errors cannot be
pickled, which Ray would need. All calls of ours may be repeated: they name what they write.
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
_BUSY = {408, 429, 502, 503, 504} | {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_GARBAGE = (json.JSONDecodeError, UnicodeDecodeError)
_KEY_REFUSED = {401, 403, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


class Calls:
    """A client's methods, called by name; each up to `attempts` times."""

    def __init__(self, client: QdrantClient, where: str, attempts: int = ATTEMPTS) -> None:
        self.client = client
        self.where = where
        self.attempts = attempts

    def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Calls a method of the client, again and again with growing, random waits.

        Raises:
            IndexUnavailableError: the server did not answer, or was too busy, each time.
            SearchIndexError: it refused; trying again would not help.
        """
        retrying = Retrying(
            retry=retry_if_exception(_is_temporary),
            stop=stop_after_attempt(self.attempts),
            wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
            reraise=True,
        )
        try:
            return retrying(getattr(self.client, method), *arguments, **named)
        except (ResponseHandlingException, UnexpectedResponse, QdrantException, grpc.RpcError) as error:
            raise self._ours(method, error) from None
        except _GARBAGE as error:
            raise self._ours(method, error) from None
        except ValueError as error:  # how the client's local mode says that something is not there
            raise SearchIndexError(f"{self.where}: {method}: {error}") from None

    def _ours(self, method: str, error: Exception) -> SearchIndexError:
        if _is_temporary(error):
            return IndexUnavailableError(
                f"{self.where}: {method} failed {self.attempts} times ({_reason(error)}): check that Qdrant runs "
                f"there and that QDRANT_URL is right{_PORT if isinstance(error, grpc.RpcError) else ''}"
            )
        if _status(error) in _KEY_REFUSED:
            return SearchIndexError(f"{self.where}: the key was refused: set QDRANT_API_KEY")
        return SearchIndexError(f"{self.where}: {method}: {_reason(error)}")


def _is_temporary(error: BaseException) -> bool:
    if isinstance(error, (UnexpectedResponse, grpc.RpcError)):
        return _status(error) in _BUSY
    # The client raises QdrantException for "too many requests" too, when it cannot read how long to wait.
    return isinstance(error, (ResponseHandlingException, QdrantException, *_GARBAGE))


def _status(error: BaseException) -> Any:
    if isinstance(error, grpc.RpcError):
        return error.code() if isinstance(error, grpc.Call) else None
    return getattr(error, "status_code", None)


def _reason(error: Exception) -> str:
    cause = error.source if isinstance(error, ResponseHandlingException) else error
    if isinstance(cause, (ValidationError, *_GARBAGE)):
        return "what answered is not Qdrant, or another version of it"
    if cause is not error:
        return f"{type(cause).__name__} {cause}".strip()
    if isinstance(error, grpc.Call):
        return f"{_status(error)} {error.details()}"
    return str(error) or type(error).__name__
