"""How much cutting captions to their longest saves: python benchmarks/bench_cut_text.py

Prints the time of a batch's forward and backward with 77 tokens over that of the cut batch, per backbone.
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
    """Returns the best of some rounds of forward and backward."""
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        step().sum().backward()
        taken.append(time.perf_counter() - started)
    return min(taken)


def ratio(encoder: Encoder) -> float:
    """Returns time(77 tokens) / time(cut)."""
    tokens = encoder.tokenize((CAPTIONS * BATCH)[:BATCH])
    whole = seconds(lambda: encoder.clip.encode_text(tokens))
    return whole / seconds(lambda: encoder.encode_text(tokens))


if __name__ == "__main__":
    for name in ("cirray-tiny", "RN50", "ViT-B-32"):
        times = ratio(build_encoder(Backbone(model=name), Preprocess(), 0))
        print(f"{name}: the whole context takes {times:.1f} times as long")
