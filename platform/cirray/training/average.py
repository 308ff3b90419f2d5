"""Exponential moving average of the trained weights, with less variance than the last weights (Polyak and Juditsky,
1992)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of parameters. The decay is lower in the first steps, to forget the initial weights.

    Args:
        trained: the parameters by name.
        decay: final decay per step; None disables the average.
    """

    def __init__(self, trained: Mapping[str, nn.Parameter], decay: float | None) -> None:
        self._trained = trained
        self._decay = decay
        self._steps = 0
        self._average = {} if decay is None else {name: p.detach().clone() for name, p in trained.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Updates the average after an optimizer step."""
        if self._decay is None:
            return
        self._steps += 1
        decay = min(self._decay, self._steps / (self._steps + 9))
        for name, parameter in self._trained.items():
            self._average[name].lerp_(parameter.detach(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Replaces the weights by their average while the block runs."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self._average.items():
            parameter = self._trained[name]
            weights = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(weights)

    def state(self) -> dict[str, Tensor | int]:
        """Returns the state for `restore`. Call it while `applied`: it then contains the weights set aside."""
        return {"steps": self._steps, **self._average}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor | int]) -> None:
        """Restores a state returned while `applied`; the parameters must contain the average, as at that time."""
        if self._decay is None:
            return
        self._steps = int(state["steps"])
        for name, average in self._average.items():
            average.copy_(torch.as_tensor(state[name]))
        self._swap()
