"""Draws the pictures of many garments, in several processes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from cirray.console.bars import bar
from cirray.demo.attributes import Garment
from cirray.demo.drawing import draw

# Number of pictures from which a process pool is faster.
POOL_FROM = 200


def draw_pictures(
    folder: Path, garments: Mapping[str, Garment], seed: int, label: str, workers: int | None = None
) -> None:
    """Draws garments to `folder`/ID.png. A picture depends only on the seed, its id and its garment.

    Args:
        folder: an existing folder.
        garments: item id -> garment.
        seed: random seed.
        label: label of the progress bar.
        workers: number of processes; None for one per core, at most four.
    """
    workers = workers or min(os.cpu_count() or 1, 4)
    jobs = [(folder, name, garment, seed) for name, garment in garments.items()]
    pool = ProcessPoolExecutor(workers) if workers > 1 and len(jobs) >= POOL_FROM else None
    with pool or nullcontext(), bar(len(jobs), label, "pictures") as shown:
        done: Iterable[None] = pool.map(_draw_one, jobs, chunksize=16) if pool else map(_draw_one, jobs)
        for _ in done:
            shown.update()


def _draw_one(job: tuple[Path, str, Garment, int]) -> None:
    folder, name, garment, seed = job
    picture = draw(garment, random_stream(seed, name, "picture"))
    picture.save(folder / f"{name}.png", compress_level=4)


def random_stream(seed: int, *purpose: str) -> np.random.Generator:
    """Returns an independent random generator for each purpose, so that adding items does not change existing ones."""
    return np.random.default_rng([seed, *"/".join(purpose).encode()])
