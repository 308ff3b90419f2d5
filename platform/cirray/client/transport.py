"""What both clients share when they send a call: connection settings, retries, errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from pydantic import ValidationError
from tenacity import RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential

from cirray.client import schemas
from cirray.client.calls import Call
from cirray.client.errors import ServiceError
from cirray.errors import ConfigError

T = TypeVar("T")

LONGEST_WAIT_S = 30.0
FIRST_WAIT_S = 0.2
_BUSY = (429, 503)


def http_settings(base_url: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    """Returns the arguments of httpx's clients.

    Raises:
        ConfigError: base_url is not an HTTP address, or the key cannot be sent in a header.
    """
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"base_url {base_url!r} is not an address: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"base_url {base_url!r} is not an address: write it as http://host:port")
    key = (os.environ.get("CIRRAY_API_KEY", "") if api_key is None else api_key).strip()
    if not (key.isascii() and key.isprintable()):  # httpx would show the key in its error
        raise ConfigError("the API key (CIRRAY_API_KEY) has characters that a header cannot have: copy it again")
    return {"base_url": url, "headers": {"X-API-Key": key} if key else {}, "timeout": timeout}


def retry_policy(call: Call[Any], retries: int) -> dict[str, Any]:
    """Returns the arguments of tenacity's retrying: which errors of a call are tried again, and when."""

    def is_temporary(error: BaseException) -> bool:
        if isinstance(error, ServiceError):
            return error.retry_after is not None
        return call.only_reads and isinstance(error, (httpx.NetworkError, httpx.RemoteProtocolError))

    return {
        "retry": retry_if_exception(is_temporary),
        "stop": stop_after_attempt(retries + 1),
        "wait": _wait,
        "reraise": True,
    }


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, ServiceError) and error.retry_after is not None:
        return min(error.retry_after, LONGEST_WAIT_S)
    return wait_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)(state)


@contextmanager
def connection_errors(http: httpx.Client | httpx.AsyncClient) -> Iterator[None]:
    """Raises ServiceError in place of httpx's errors of the connection."""
    try:
        yield
    except httpx.TimeoutException:
        raise ServiceError(f"{http.base_url} did not answer in time: try again, or raise timeout") from None
    except httpx.RequestError as error:
        reason = str(error) or type(error).__name__
        raise ServiceError(f"{http.base_url} cannot be reached ({reason}): check that the service runs there") from None


def read_answer(call: Call[T], response: httpx.Response) -> T:
    """Returns the result of a call.

    Raises:
        ServiceError: the answer is an error, or is not the service's.
    """
    status = response.status_code
    what = f"{call.method} {call.path}"
    if not response.is_success and status not in call.expected:
        problem = _problem(response)
        detail = f"{problem.title}: {problem.detail}" if problem else response.reason_phrase
        raise ServiceError(f"{what} was answered with {status}: {detail}", status, problem, _retry_after(response))
    try:
        return call.read(response)
    except ValidationError:
        raise ServiceError(f"{what}: unexpected answer; is a cirray service at {response.url}?", status) from None


def _problem(response: httpx.Response) -> schemas.Problem | None:
    try:
        return schemas.Problem.model_validate_json(response.content)
    except ValidationError:
        return None


def _retry_after(response: httpx.Response) -> float | None:
    """Returns the seconds to wait; None if a retry would not help, or the service does not say when."""
    seconds = response.headers.get("Retry-After", "")
    return float(seconds) if response.status_code in _BUSY and seconds.isdecimal() else None
