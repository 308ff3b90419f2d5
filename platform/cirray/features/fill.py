"""Fills a feature store on Ray.

Each actor computes missing rows and writes its own shards, so a kill loses at most the shards in progress.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import ray
from ray.exceptions import RayTaskError
from ray.util import ActorPool
from tqdm import tqdm

from cirray.config.compute import Embedding
from cirray.console.bars import bar
from cirray.errors import CirrayError
from cirray.features.embed import Embed
from cirray.features.store import FeatureStore


@dataclass(frozen=True, slots=True)
class _Work:
    """The arguments of an actor: factory of the embedding callable, output store, and rows per batch."""

    make: Callable[[], Embed]
    store: FeatureStore
    batch_size: int


class _Filler:
    """An actor that holds the model. Each call computes the rows of one shard in batches and writes it."""

    def __init__(self, work: _Work) -> None:
        self.work = work
        self.embed = work.make()

    def write_shard(self, keys: Sequence[str], payloads: Sequence[str]) -> int:
        import numpy as np

        size = self.work.batch_size
        rows = np.concatenate([self.embed(payloads[start : start + size]) for start in range(0, len(payloads), size)])
        self.work.store.write(keys, rows)
        return len(rows)


def fill(
    store: FeatureStore,
    items: Mapping[str, str],
    make: Callable[[], Embed],
    settings: Embedding,
    actors: int,
    label: str,
    inline: int = 0,
    gpus: float = 0.0,
) -> int:
    """Computes and stores the rows missing in `store`; returns their number.

    Args:
        store: the store to fill.
        items: content key -> payload (picture path or URI, or caption).
        make: builds the embedding callable inside each actor.
        settings: batch and shard sizes.
        actors: maximum number of actors.
        label: name in the progress bar.
        inline: maximum number of missing rows that this process computes itself, without starting actors.
        gpus: GPUs per actor; above 0, actors compute all rows.

    Raises:
        CirrayError: raised by the embedding callable, such as for a picture that cannot be decoded.
    """
    missing = store.missing(list(items))
    if not missing:
        return 0
    rows = max(1, min(settings.shard_rows, -(-len(missing) // actors)))
    shards = [missing[start : start + rows] for start in range(0, len(missing), rows)]
    work = _Work(make, store, settings.batch_size)
    with bar(len(missing), label, "rows") as progress:
        if len(missing) <= inline and not gpus:
            filler = _Filler(work)
            for shard in shards:
                progress.update(filler.write_shard(shard, [items[key] for key in shard]))
        else:
            _fill_with_actors(work, shards, items, actors, gpus, progress)
    return len(missing)


def _fill_with_actors(
    work: _Work,
    shards: Sequence[Sequence[str]],
    items: Mapping[str, str],
    actors: int,
    gpus: float,
    progress: tqdm,
) -> None:
    """Gives each actor one shard at a time until none is left. Ray restarts a dead actor and repeats its shard."""
    actor = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=3, max_task_retries=3)(_Filler)
    workers = [actor.remote(work) for _ in range(min(actors, len(shards)))]
    try:
        for rows in ActorPool(workers).map_unordered(
            lambda worker, keys: worker.write_shard.remote(keys, [items[key] for key in keys]), list(shards)
        ):
            progress.update(rows)
    except RayTaskError as error:
        if isinstance(error.cause, CirrayError):
            raise error.cause from None
        raise
    finally:
        for worker in workers:
            ray.kill(worker)
