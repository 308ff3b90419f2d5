"""The encoder deployment: one bundle in memory, pictures and sentences encoded in batches as they come.

A new bundle under the same path is loaded beside the old one and takes over between two batches. It must have the same
image side, since the index was made with that.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from ray import serve

from cirray.bars import say
from cirray.bundle_folder import COMBINING, MANIFEST, read_bundle
from cirray.config import Serving
from cirray.errors import BundleError, CirrayError
from serve.encoding import Ask, Composed, Counts, ModelInfo, model_name

if TYPE_CHECKING:
    from cirray.bundle import Model

Result = TypeVar("Result")
Stamp = tuple[str, int, int]


class Loaded:
    """A bundle in memory."""

    def __init__(self, folder: Path, device: str) -> None:
        from cirray.bundle import load  # torch and open_clip take seconds: imported where a model is built

        self.stamp = stamp(folder)
        self.model: Model = load(folder.resolve(), device)
        manifest = self.model.manifest
        weights = self.model.path / COMBINING
        digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else ""
        self.info = ModelInfo(
            name=model_name(manifest, digest),
            image_fingerprint=manifest["image_fingerprint"],
            dim=manifest["dim"],
            size=self.model.encoder.image_input.size,
            preprocess=self.model.encoder.preprocess,
            backbone=str(manifest.get("backbone", "")),
            combining=manifest["combining"]["function"],
            metrics={name: float(value) for name, value in manifest.get("metrics", {}).items()},
        )


class Encoder:
    """One replica. Forward passes run one at a time in a thread of their own; the event loop stays free."""

    def __init__(self, settings: Serving) -> None:
        import torch

        if settings.threads:
            torch.set_num_threads(settings.threads)
        self._settings = settings
        self._folder = Path(settings.bundle).expanduser()
        self._device = "cuda" if settings.gpus else "cpu"
        self._loaded = Loaded(self._folder, self._device)
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
        return info if not self._refused else ModelInfo(**{**_fields(info), "refused": self._refused})

    async def counts(self) -> Counts:
        """Returns how much work this replica has done."""
        return self._counts

    async def compose(self, ask: Ask) -> Composed:
        """See `QueryEncoder`."""
        loaded = self._loaded  # one bundle for the whole query, even when another takes over meanwhile
        feature = ask.feature if ask.pixels is None else await self._images((loaded, ask.pixels))
        answer: Composed = await self._queries((loaded, feature, ask.text, ask.weight))
        return answer

    async def embed(self, pixels: np.ndarray) -> np.ndarray:
        """See `QueryEncoder`."""
        feature: np.ndarray = await self._images((self._loaded, pixels))
        return feature

    @serve.batch
    async def _images(self, batch: list[tuple[Loaded, np.ndarray]]) -> list[np.ndarray]:
        return await self._forward(_by_bundle(batch, _encode_images), images=len(batch))

    @serve.batch
    async def _queries(self, batch: list[tuple[Loaded, np.ndarray | None, str | None, float | None]]) -> list[Composed]:
        texts = sum(text is not None for _, _, text, _ in batch)
        return await self._forward(_by_bundle(batch, _compose), texts=texts)

    async def _forward(self, work: Callable[[], list[Result]], images: int = 0, texts: int = 0) -> list[Result]:
        done = self._counts
        self._counts = Counts(
            done.image_batches + bool(images), done.images + images, done.text_batches + bool(texts), done.texts + texts
        )
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.poll_s)
            with suppress(OSError, BundleError):  # half copied: complete at a later look
                found = stamp(self._folder)
                if found != self._seen:
                    await asyncio.to_thread(self._take_over, found)

    def _take_over(self, found: Stamp) -> None:
        """Loads the bundle that is there now, or says why not."""
        manifest = read_bundle(self._folder)
        self._seen = found
        try:
            if manifest["image_fingerprint"] != self._loaded.info.image_fingerprint:
                raise BundleError(
                    f"the bundle at {self._folder} has another image side than the index: it is not taken over. Index "
                    f"the catalogue with it into an index of its own, and deploy bundle and index together"
                )
            self._loaded = Loaded(self._folder, self._device)
            self._refused = ""
            say(f"serving bundle {self._loaded.info.name} from {self._folder}")
        except CirrayError as error:
            self._refused = str(error)
            say(f"refused: {error}")


def stamp(folder: Path) -> Stamp:
    """Returns what changes when another bundle is put under this path: where it leads, and its manifest's age.

    Raises:
        OSError: there is no complete bundle just now.
    """
    resolved = folder.resolve(strict=True)
    status = (resolved / MANIFEST).stat()
    return str(resolved), status.st_mtime_ns, status.st_ino


def _by_bundle(batch: Sequence[tuple[Any, ...]], work: Callable[..., list[Result]]) -> Callable[[], list[Result]]:
    """Returns a function that runs `work(bundle, rows)` for each bundle of a batch: two while one takes over."""

    def run() -> list[Result]:
        results: dict[int, Result] = {}
        for loaded in dict.fromkeys(entry[0] for entry in batch):
            rows = [number for number, entry in enumerate(batch) if entry[0] is loaded]
            results.update(zip(rows, work(loaded, [batch[row][1:] for row in rows]), strict=True))
        return [results[row] for row in range(len(batch))]

    return run


def _encode_images(loaded: Loaded, rows: Sequence[tuple[np.ndarray]]) -> list[np.ndarray]:
    """Pixels uint8 [3, S, S] -> raw features float32 [d]."""
    import torch

    with torch.inference_mode():
        pixels = torch.from_numpy(np.stack([pixels for (pixels,) in rows])).to(loaded.model.device)
        return list(loaded.model.encoder.encode_image(pixels).float().cpu().numpy())


def _compose(loaded: Loaded, rows: Sequence[tuple[np.ndarray | None, str | None, float | None]]) -> list[Composed]:
    """Query features of one bundle's rows (image feature, text, weight): one forward for all of their texts."""
    import torch
    import torch.nn.functional as F

    model = loaded.model
    with torch.inference_mode():
        images = {
            row: torch.from_numpy(np.array(feature)) for row, (feature, _, _) in enumerate(rows) if feature is not None
        }
        captions = {row: text for row, (_, text, _) in enumerate(rows) if text is not None}
        encoded = model.encode_text(list(captions.values()), normalize=False) if captions else ()
        texts = dict(zip(captions, encoded, strict=True))
        alone = {**images, **texts}
        queries = {row: F.normalize(alone[row], dim=-1) for row in alone.keys() - (images.keys() & texts.keys())}
        shares: dict[int, float] = {}
        for group in _groups(images.keys() & texts.keys(), rows):
            image = torch.stack([images[row] for row in group])
            text = torch.stack([texts[row] for row in group])
            given = [weight for weight in (rows[row][2] for row in group) if weight is not None]
            balance = torch.tensor(given, device=model.device)[:, None] if given else None
            query, share = model.compose(image, text, balance)
            queries.update(zip(group, query, strict=True))
            shares.update({} if share is None else zip(group, share.flatten().tolist(), strict=True))
        name = loaded.info.name
        return [Composed(queries[row].float().cpu().numpy(), shares.get(row), name) for row in range(len(rows))]


def _groups(rows: Iterable[int], entries: Sequence[tuple[Any, Any, float | None]]) -> list[list[int]]:
    """Splits the rows of composed queries into those with and those without a weight of their own."""
    ordered = sorted(rows)
    chosen = [row for row in ordered if entries[row][2] is None]
    given = [row for row in ordered if entries[row][2] is not None]
    return [group for group in (chosen, given) if group]


def _fields(info: ModelInfo) -> dict[str, Any]:
    return {name: getattr(info, name) for name in ModelInfo.__slots__}
