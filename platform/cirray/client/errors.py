"""The error that the clients raise."""

from __future__ import annotations

from collections.abc import Iterable

from cirray.client import schemas
from cirray.errors import CirrayError


def field_name(location: Iterable[int | str]) -> str:
    """Returns the name of a field of a request, such as "references[1].id", from pydantic's location of an error."""
    name = ""
    for part in location:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name


class ServiceError(CirrayError):
    """The request is not valid, the service refused it or cannot be reached, or the answer is not the service's.

    Attributes:
        status: the HTTP status; None without an answer.
        problem: the problem (RFC 9457) in the answer, if it has one.
        retry_after: seconds after which the service accepts the request again; None if it does not say so.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        problem: schemas.Problem | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem
        self.retry_after = retry_after
