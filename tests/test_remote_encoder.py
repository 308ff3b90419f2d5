"""What the ingress does when an encoder says nothing, as one on a lost node does."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, cast

import pytest
from ray.serve.handle import DeploymentHandle

from serve.remote import RemoteEncoder


class Response:
    """What a handle gives: it can be awaited, perhaps in vain, and cancelled."""

    def __init__(self, speaks: bool) -> None:
        self.speaks = speaks
        self.cancelled = False

    def __await__(self) -> Generator[Any, None, str]:
        return self._answer().__await__()

    async def _answer(self) -> str:
        if not self.speaks:
            await asyncio.Event().wait()
        return "answer"

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """A handle, and its own method `info`, whose calls go to a silent replica first."""

    def __init__(self, silent: int) -> None:
        self.silent = silent
        self.sent: list[Response] = []
        self.info = self

    def remote(self) -> Response:
        self.sent.append(Response(len(self.sent) >= self.silent))
        return self.sent[-1]


def ask(handle: Handle, within: float) -> Any:
    encoder = RemoteEncoder(cast(DeploymentHandle, handle), patience_s=0.05)
    return asyncio.run(asyncio.wait_for(encoder.info(), within))


def test_a_silent_replica_is_given_up_for_another() -> None:
    handle = Handle(silent=1)
    assert ask(handle, within=10) == "answer"
    assert [response.cancelled for response in handle.sent] == [True, False]


def test_the_second_try_keeps_its_place_as_long_as_the_request_lasts() -> None:
    handle = Handle(silent=2)
    with pytest.raises(TimeoutError):
        ask(handle, within=0.5)
    assert [response.cancelled for response in handle.sent] == [True, True]
