"""Batch sampling. Batches depend only on seed and epoch, not on the number of workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """One global batch of n examples. Every worker has all of it.

    Attributes:
        rows: int64 [n], indices of the examples.
        draws: float64 [n] in [0, 1), one random number per example and epoch, which draws its caption variant.
    """

    rows: Tensor
    draws: Tensor

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Sampler:
    """Shuffles all examples in every epoch and splits them into batches.

    Attributes:
        examples: number of examples.
        batch_size: size of the global batch.
        drop_last: whether to drop the last, incomplete batch.
        seed: the random seed.
    """

    examples: int
    batch_size: int
    drop_last: bool
    seed: int

    def steps(self) -> int:
        """Returns the number of batches of an epoch."""
        whole, rest = divmod(self.examples, self.batch_size)
        return whole if self.drop_last else whole + bool(rest)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yields the batches of one epoch."""
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(self.examples)
        draws = random.random(self.examples)
        for step in range(self.steps()):
            part = slice(step * self.batch_size, (step + 1) * self.batch_size)
            yield Batch(torch.from_numpy(order[part]), torch.from_numpy(draws[part]))


def seed_epoch(seed: int, epoch: int, rank: int) -> None:
    """Seeds torch for an epoch, so that dropout does not depend on earlier epochs: resumed runs give equal results."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0]))
