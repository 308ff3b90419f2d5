"""The way from the ingress to the encoder replicas, across the loss of a replica.

Encoding changes nothing, so a query that was under way in a replica that died is asked again of another one. Of a whole
node that is lost nobody says so for many seconds: a first try that takes long is given up in favour of a second one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
from ray.exceptions import RayActorError, RaySystemError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from serve.encoder_types import EncodedQuery, ModelInfo, QueryInput
from serve.errors import BusyError

ATTEMPTS = 6
FIRST_WAIT_S = 0.05
_LOST = (RayActorError, RaySystemError, ReplicaUnavailableError)


class RemoteEncoder:
    """`QueryEncoder` over a deployment handle.

    Args:
        handle: of the encoder deployment.
        patience_s: how long the first try may take. Later ones take what the request has left: under a load that makes
            everybody wait, nobody loses his place twice.
    """

    def __init__(self, handle: DeploymentHandle, patience_s: float) -> None:
        self._handle = handle
        self._patience_s = patience_s

    async def info(self) -> ModelInfo:
        """See `QueryEncoder`."""
        info: ModelInfo = await self._again(lambda: self._handle.info.remote())
        return info

    async def compose(self, ask: QueryInput) -> EncodedQuery:
        """See `QueryEncoder`."""
        composed: EncodedQuery = await self._again(lambda: self._handle.compose.remote(ask))
        return composed

    async def embed(self, pixels: np.ndarray) -> tuple[np.ndarray, str]:
        """See `QueryEncoder`."""
        feature: tuple[np.ndarray, str] = await self._again(lambda: self._handle.embed.remote(pixels))
        return feature

    async def _again(self, send: Callable[[], Any]) -> Any:
        """Awaits what `send` starts; starts it again when the replica was lost, or says nothing.

        Raises:
            BusyError: the replicas' queue is full, or none is left just now.
        """
        for attempt in range(ATTEMPTS):
            response = send()
            try:
                async with asyncio.timeout(None if attempt else self._patience_s):
                    return await response
            except TimeoutError:
                response.cancel()
            except asyncio.CancelledError:
                response.cancel()  # nobody waits for it any more
                raise
            except BackPressureError:
                raise BusyError from None
            except _LOST:
                await asyncio.sleep(FIRST_WAIT_S * 2**attempt)
            except DeploymentUnavailableError:
                break
        raise BusyError(retry_after_s=5)
