"""Backward passes over more examples than fit in memory, with the gradients of the whole batch.

Cached gradients (Gao et al., 2021, "Scaling deep contrastive learning batch size under memory limited setup"): encode
all chunks without a graph, take the loss's gradient with respect to the features, then encode chunk by chunk again and
push that gradient through. Unlike plain accumulation every query still sees all negatives.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Features = tuple[Tensor, ...]


def backward_in_chunks(
    encode: Callable[[slice], Features],
    count: int,
    chunk: int | None,
    loss_of: Callable[[Features], Tensor],
    grad_scale: Callable[[Tensor], Tensor] = lambda loss: loss,
) -> Tensor:
    """Runs forward and backward over `count` examples, at most `chunk` of them with activations at a time.

    Args:
        encode: rows -> features of those rows, each [rows, d]. Called twice a chunk, with the same random numbers.
        loss_of: all features, each [count, d] -> scalar loss.
        grad_scale: multiplies the loss before its backward pass (fp16 loss scaling).

    Returns:
        The detached loss.
    """
    if chunk is None or count <= chunk:
        loss = loss_of(encode(slice(0, count)))
        grad_scale(loss).backward()
        return loss.detach()
    pieces = [slice(start, min(start + chunk, count)) for start in range(0, count, chunk)]
    states, cached = [], []
    with torch.no_grad():
        for piece in pieces:
            states.append(_random_state())
            cached.append(encode(piece))
    whole = tuple(torch.cat(parts).requires_grad_() for parts in zip(*cached, strict=True))
    loss = loss_of(whole)
    grad_scale(loss).backward()
    for piece, state in zip(pieces, states, strict=True):
        with torch.random.fork_rng():
            _set_random_state(state)
            outputs = encode(piece)
        pairs = [
            (out, full.grad[piece])
            for out, full in zip(outputs, whole, strict=True)
            if out.requires_grad and full.grad is not None
        ]
        torch.autograd.backward([out for out, _ in pairs], [grad for _, grad in pairs])
    return loss.detach()


def _random_state() -> tuple[Tensor, list[Tensor]]:
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def _set_random_state(state: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
