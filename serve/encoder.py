"""The encoder deployment: holds one bundle in memory and encodes pictures and texts in batches.

A new bundle under the same path is loaded beside the old one and takes over between two batches. It must have the same
image tower and preprocessing, because the index was made with them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
from ray import serve

from cirray.config.serving import Serving
from cirray.console.log import log
from cirray.errors import BundleError
from cirray.models.bundle_manifest import MANIFEST, read_bundle
from cirray.storage.location import Location
from serve.batches import ImageJob, QueryJob, encode_by_bundle, encode_images, encode_queries, text_passes
from serve.candidate_scores import score_candidates
from serve.composition import composed, jobs_of
from serve.encoder_types import (
    ComposedInput,
    Counts,
    EncodedImage,
    EncodedQuery,
    ModelInfo,
    QueryInput,
    RerankInput,
    RerankScores,
)
from serve.loaded_bundle import Loaded, stamp

Result = TypeVar("Result")


class WrongImageTowerError(BundleError):
    """The bundle has another image tower than the index."""


class Encoder:
    """One replica. Forward passes run one at a time in a separate thread, so that the event loop stays free.

    Args:
        settings: the configuration.
        image_fingerprint: of the image tower that the application was deployed for; no other is loaded.

    Raises:
        BundleError: the bundle is incomplete, or has another image tower.
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
        """Stops watching for a new bundle."""
        if self._watcher is not None:
            self._watcher.cancel()
        self._thread.shutdown(wait=False)

    async def info(self) -> ModelInfo:
        """See `QueryEncoder`. The first call starts watching for a new bundle."""
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())
        info = self._loaded.info
        return info if not self._refused else replace(info, refused=self._refused)

    async def counts(self) -> Counts:
        """Returns the work that this replica has done."""
        return self._counts

    async def encode_query(self, query: QueryInput) -> EncodedQuery:
        """See `QueryEncoder`."""
        bundle = self._loaded  # one bundle for the whole query, even when another takes over meanwhile
        image = await self._image(bundle, query)
        encoded: EncodedQuery = await self._queries(QueryJob(bundle, image, query.text, query.text_weight))
        return encoded

    async def encode_composition(self, query: ComposedInput) -> EncodedQuery:
        """See `QueryEncoder`. All pictures of the query go into the queue together, then all its texts."""
        bundle = self._loaded
        images = await asyncio.gather(*(self._image(bundle, part) for part in query.wanted))
        return composed(query, await asyncio.gather(*map(self._queries, jobs_of(bundle, query, images))))

    async def encode_image(self, pixels: np.ndarray) -> EncodedImage:
        """See `QueryEncoder`."""
        bundle = self._loaded
        return EncodedImage(await self._images(ImageJob(bundle, pixels)), bundle.info.image_fingerprint)

    async def rerank(self, candidates: RerankInput) -> RerankScores:
        """See `QueryEncoder`. Not batched: scores would depend on the other requests in their last digits."""
        return await self._in_thread(partial(score_candidates, self._loaded, candidates))

    async def _image(self, bundle: Loaded, query: QueryInput) -> np.ndarray | None:
        """Returns the raw image feature [d] of a query's reference; None if it has none."""
        return query.feature if query.pixels is None else await self._images(ImageJob(bundle, query.pixels))

    @serve.batch
    async def _images(self, jobs: list[ImageJob]) -> list[np.ndarray]:
        done = self._counts
        self._counts = replace(done, image_batches=done.image_batches + 1, images=done.images + len(jobs))
        return await self._in_thread(partial(encode_by_bundle, jobs, encode_images))

    @serve.batch
    async def _queries(self, jobs: list[QueryJob]) -> list[EncodedQuery]:
        texts = sum(job.text is not None for job in jobs)
        done = self._counts
        self._counts = replace(done, text_batches=done.text_batches + text_passes(jobs), texts=done.texts + texts)
        return await self._in_thread(partial(encode_by_bundle, jobs, encode_queries))

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.poll_s)
            try:
                found = stamp(self._location)
                if found != self._seen:
                    await asyncio.to_thread(self._take_over)
                    self._seen = found
            except WrongImageTowerError as error:
                self._refused, self._seen = str(error), found
                log(f"refused: {error}")
            except Exception as error:  # the bundle is half copied, or memory is short: the next check may succeed
                self._refused = f"the bundle at {self._location} cannot be loaded: {error or type(error).__name__}"

    def _take_over(self) -> None:
        self._loaded = self._load()
        self._refused = ""
        log(f"serving bundle {self._loaded.info.name} from {self._location}")

    def _load(self) -> Loaded:
        """Loads the bundle that is there now, unless it has another image tower."""
        if read_bundle(self._location.fetch(MANIFEST))["image_fingerprint"] != self._image_fingerprint:
            raise WrongImageTowerError(
                f"the bundle at {self._location} has another image tower than the index, and was not loaded: index "
                f"the catalog with it into a separate index, and deploy bundle and index together"
            )
        return Loaded(self._location, self._device)
