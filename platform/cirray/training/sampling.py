"""Which examples make each batch: decided by seed and epoch alone, the same for any number of workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """One global batch of n examples, known in full to every worker.

    Attributes:
        rows: int64 [n], example numbers.
        draws: float64 [n] in [0, 1): each example's random number of this epoch (which caption variant it uses).
    """

    rows: Tensor
    draws: Tensor

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Sampler:
    """Shuffles `examples` anew each epoch into batches of `batch_size`."""

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
    """Seeds torch so that an epoch's dropout depends on nothing before it: resumed runs equal undisturbed ones."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0]))
