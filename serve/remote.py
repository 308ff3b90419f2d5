"""Calls from the ingress to the encoder replicas, with retries when a replica is lost.

Encoding has no side effects, so a call to a replica that died is sent again to another one. Ray takes many seconds to
notice that a whole node is lost: a first attempt without an answer is therefore cancelled and sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
from ray.exceptions import RayActorError, RaySystemError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from serve.encoder_types import (
    ComposedInput,
    EncodedImage,
    EncodedQuery,
    ModelInfo,
    QueryInput,
    RerankInput,
    RerankScores,
)
from serve.errors import BusyError

ATTEMPTS = 6
FIRST_WAIT_S = 0.05
_LOST = (RayActorError, RaySystemError, ReplicaUnavailableError)


class RemoteEncoder:
    """`QueryEncoder` over a deployment handle.

    Args:
        handle: of the encoder deployment.
        patience_s: seconds that the first attempt may take. Later attempts may take the rest of the request's time, so
            that under high load a request loses its place in the queue at most once.
    """

    def __init__(self, handle: DeploymentHandle, patience_s: float) -> None:
        self._handle = handle
        self._patience_s = patience_s

    async def info(self) -> ModelInfo:
        """See `QueryEncoder`."""
        info: ModelInfo = await self._retry(lambda: self._handle.info.remote())
        return info

    async def encode_query(self, query: QueryInput) -> EncodedQuery:
        """See `QueryEncoder`."""
        encoded: EncodedQuery = await self._retry(lambda: self._handle.encode_query.remote(query))
        return encoded

    async def encode_composition(self, query: ComposedInput) -> EncodedQuery:
        """See `QueryEncoder`."""
        encoded: EncodedQuery = await self._retry(lambda: self._handle.encode_composition.remote(query))
        return encoded

    async def encode_image(self, pixels: np.ndarray) -> EncodedImage:
        """See `QueryEncoder`."""
        encoded: EncodedImage = await self._retry(lambda: self._handle.encode_image.remote(pixels))
        return encoded

    async def rerank(self, candidates: RerankInput) -> RerankScores:
        """See `QueryEncoder`."""
        scores: RerankScores = await self._retry(lambda: self._handle.rerank.remote(candidates))
        return scores

    async def _retry(self, send: Callable[[], Any]) -> Any:
        """Awaits the call that `send` starts; starts another one if the replica was lost or does not answer.

        Raises:
            BusyError: the replicas' queue is full, or no replica runs.
        """
        for attempt in range(ATTEMPTS):
            response = send()
            try:
                async with asyncio.timeout(None if attempt else self._patience_s):
                    return await response
            except TimeoutError:
                response.cancel()
            except asyncio.CancelledError:
                response.cancel()  # the client has gone
                raise
            except BackPressureError:
                raise BusyError from None
            except _LOST:
                await asyncio.sleep(FIRST_WAIT_S * 2**attempt)
            except DeploymentUnavailableError:
                break
        raise BusyError(retry_after_s=5)
