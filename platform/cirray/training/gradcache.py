"""Cached gradients: backward passes over a batch that does not fit in memory, with the exact gradients of the batch.

Gao et al., 2021, "Scaling deep contrastive learning batch size under memory limited setup": encode all chunks without a
graph, compute the gradient of the loss with respect to the features, then encode each chunk again and backpropagate its
part of that gradient. Unlike gradient accumulation, every query keeps all negatives of the batch.
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
    """Runs forward and backward over `count` examples, with the activations of at most `chunk` of them at a time.

    Args:
        encode: maps a slice of rows to their features, each [rows, d]. Called twice per chunk, with the same random
            numbers.
        count: number of examples.
        chunk: maximum examples per forward pass; None = all.
        loss_of: maps the features of all examples, each [count, d], to the scalar loss.
        grad_scale: scales the loss before the backward pass (fp16 loss scaling).

    Returns:
        The detached loss, a scalar.
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
