"""A moving average of the trained weights, which is steadier than the last step's (Polyak and Juditsky, 1992)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of parameters; the first steps count more, so that it forgets the start.

    Args:
        trained: the parameters.
        decay: what the average keeps of itself a step, in the long run; None: the average is the parameter.
    """

    def __init__(self, trained: Mapping[str, nn.Parameter], decay: float | None) -> None:
        self._trained = trained
        self._decay = decay
        self._steps = 0
        self._average = {} if decay is None else {name: p.detach().clone() for name, p in trained.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights of a step."""
        if self._decay is None:
            return
        self._steps += 1
        decay = min(self._decay, self._steps / (self._steps + 9))
        for name, parameter in self._trained.items():
            self._average[name].lerp_(parameter.detach(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Puts the average in the place of the weights while the block runs."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self._average.items():
            parameter = self._trained[name]
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)

    def state(self) -> dict[str, Tensor | int]:
        """Returns what `restore` needs beside the weights: called while `applied`, what is set aside by then."""
        return {"steps": self._steps, **self._average}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor | int]) -> None:
        """Takes up a state that was written while `applied`, with the weights of that moment in the parameters."""
        if self._decay is None:
            return
        self._steps = int(state["steps"])
        for name, average in self._average.items():
            average.copy_(torch.as_tensor(state[name]))
        self._swap()
