"""The encoder deployment: one bundle in memory, pictures and sentences encoded in batches as they come.

A new bundle under the same path is loaded beside the old one and takes over between two batches. It must have the same
image side, since the index was made with that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np
from ray import serve

from cirray.config.serving import Serving
from cirray.console.log import log
from cirray.errors import BundleError
from cirray.models.bundle_manifest import MANIFEST, read_bundle
from cirray.storage.location import Location
from serve.batches import by_bundle, compose, encode_images
from serve.encoder_types import Counts, EncodedQuery, ModelInfo, QueryInput
from serve.loaded_bundle import Loaded, stamp

Result = TypeVar("Result")


class WrongImageSideError(BundleError):
    """A bundle that does not fit the index."""


class Encoder:
    """One replica. Forward passes run one at a time in a thread of their own; the event loop stays free.

    Args:
        settings: the configuration.
        image_fingerprint: the image side that the application was deployed for; no other is ever loaded.

    Raises:
        BundleError: the bundle is incomplete, or has another image side.
    """

    def __init__(self, settings: Serving, image_fingerprint: str) -> None:
        import torch

        if settings.threads:
            torch.set_num_threads(settings.threads)
        self._settings = settings
        self._location = Location.parse(settings.bundle)
        self._device = "cuda" if settings.gpus else "cpu"
        self._image_fingerprint = image_fingerprint
        self._loaded = self._load()
        self._seen = self._loaded.stamp
        self._refused = ""
        self._counts = Counts(0, 0, 0, 0)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="forward")
        self._images.set_max_batch_size(settings.max_batch)
        self._images.set_batch_wait_timeout_s(settings.batch_wait_s)
        self._queries.set_max_batch_size(settings.max_batch)
        self._queries.set_batch_wait_timeout_s(settings.batch_wait_s)
        self._watcher: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stops looking for a new bundle."""
        if self._watcher is not None:
            self._watcher.cancel()
        self._thread.shutdown(wait=False)

    async def info(self) -> ModelInfo:
        """See `QueryEncoder`. The first call starts the watch over the bundle."""
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())
        info = self._loaded.info
        return info if not self._refused else replace(info, refused=self._refused)

    async def counts(self) -> Counts:
        """Returns how much work this replica has done."""
        return self._counts

    async def compose(self, ask: QueryInput) -> EncodedQuery:
        """See `QueryEncoder`."""
        loaded = self._loaded  # one bundle for the whole query, even when another takes over meanwhile
        feature = ask.feature if ask.pixels is None else await self._images((loaded, ask.pixels))
        answer: EncodedQuery = await self._queries((loaded, feature, ask.text, ask.text_weight))
        return answer

    async def embed(self, pixels: np.ndarray) -> tuple[np.ndarray, str]:
        """See `QueryEncoder`."""
        loaded = self._loaded
        return await self._images((loaded, pixels)), loaded.info.image_fingerprint

    @serve.batch
    async def _images(self, batch: list[tuple[Loaded, np.ndarray]]) -> list[np.ndarray]:
        return await self._forward(by_bundle(batch, encode_images), images=len(batch))

    @serve.batch
    async def _queries(
        self, batch: list[tuple[Loaded, np.ndarray | None, str | None, float | None]]
    ) -> list[EncodedQuery]:
        texts = sum(text is not None for _, _, text, _ in batch)
        return await self._forward(by_bundle(batch, compose), texts=texts)

    async def _forward(self, work: Callable[[], list[Result]], images: int = 0, texts: int = 0) -> list[Result]:
        done = self._counts
        self._counts = Counts(
            done.image_batches + bool(images), done.images + images, done.text_batches + bool(texts), done.texts + texts
        )
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.poll_s)
            try:
                found = stamp(self._location)
                if found != self._seen:
                    await asyncio.to_thread(self._take_over)
                    self._seen = found
            except WrongImageSideError as error:
                self._refused, self._seen = str(error), found
                log(f"refused: {error}")
            except Exception as error:  # half copied, or no memory just now: the next look may succeed
                self._refused = f"the bundle at {self._location} cannot be loaded: {error or type(error).__name__}"

    def _take_over(self) -> None:
        self._loaded = self._load()
        self._refused = ""
        log(f"serving bundle {self._loaded.info.name} from {self._location}")

    def _load(self) -> Loaded:
        """Loads the bundle that is there now, unless it has another image side."""
        if read_bundle(self._location.fetch(MANIFEST))["image_fingerprint"] != self._image_fingerprint:
            raise WrongImageSideError(
                f"the bundle at {self._location} has another image side than the index: it is not taken over. Index "
                f"the catalog with it into an index of its own, and deploy bundle and index together"
            )
        return Loaded(self._location, self._device)
