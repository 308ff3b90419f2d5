"""Time saved by truncating batches of captions: python benchmarks/bench_cut_text.py

Prints per backbone the time of a forward and backward pass with 77 tokens / that of the truncated batch.
"""

import time
from collections.abc import Callable

import torch

from cirray.config.backbone import Backbone
from cirray.config.data import Preprocess
from cirray.models.build import build_encoder
from cirray.models.clip import Encoder

CAPTIONS = ["is solid black with no sleeves and is longer", "is darker and has a floral print", "has shorter sleeves"]
BATCH, ROUNDS = 32, 3


def seconds(step: Callable[[], torch.Tensor]) -> float:
    """Returns the minimum time of ROUNDS forward and backward passes."""
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        step().sum().backward()
        taken.append(time.perf_counter() - started)
    return min(taken)


def ratio(encoder: Encoder) -> float:
    """Returns time(77 tokens) / time(truncated)."""
    tokens = encoder.tokenize((CAPTIONS * BATCH)[:BATCH])
    whole = seconds(lambda: encoder.clip.encode_text(tokens))
    return whole / seconds(lambda: encoder.encode_text(tokens))


if __name__ == "__main__":
    for name in ("cirray-tiny", "RN50", "ViT-B-32"):
        times = ratio(build_encoder(Backbone(model=name), Preprocess(), 0))
        print(f"{name}: the whole context takes {times:.1f} times as long")
