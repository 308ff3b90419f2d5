"""Memory saved by gradient caching in stage 1 with both towers: python benchmarks/bench_chunks.py

Prints ratios for one batch's forward and backward pass: memory on top of the model, whole / in chunks, and time, in
chunks / whole. Each is measured in its own process, as peak memory is per process.
"""

import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
import torch.nn.functional as F

from cirray.config.backbone import Backbone
from cirray.config.data import Preprocess
from cirray.models.build import build_encoder
from cirray.models.combining.sum import Sum
from cirray.models.losses import contrastive_loss
from cirray.training.gradcache import Features, backward_in_chunks

CASES = (("cirray-tiny", 256, 32), ("RN50", 32, 4))
CAPTION = "is solid black with no sleeves and is longer"


def peak() -> float:
    """Returns the peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def step(model: str, batch: int, chunk: int | None) -> tuple[float, float]:
    """Returns the MiB that one step adds to the peak memory, and its seconds."""
    encoder = build_encoder(Backbone(model=model), Preprocess(), 0)
    size = encoder.image_input.size
    pixels = torch.randint(0, 256, (2, batch, 3, size, size), dtype=torch.uint8)
    tokens = encoder.tokenize([CAPTION] * batch)
    combine = Sum()

    def encode(rows: slice) -> Features:
        query = combine(encoder.encode_image(pixels[0, rows]), encoder.encode_text(tokens[rows]))
        return query, F.normalize(encoder.encode_image(pixels[1, rows]), dim=-1)

    def loss_of(features: Features) -> torch.Tensor:
        return contrastive_loss(features[0], features[1], torch.arange(batch), 100.0)

    backward_in_chunks(
        encode, 2, None, lambda features: features[0].sum() + features[1].sum()
    )  # allocates the gradients
    before, began = peak(), time.perf_counter()
    backward_in_chunks(encode, batch, chunk, loss_of)
    return peak() - before, time.perf_counter() - began


def step_in_process(model: str, batch: int, chunk: int | None) -> tuple[float, float]:
    """Runs a step in a new process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(step, model, batch, chunk).result()


if __name__ == "__main__":
    print("both towers, forward and backward of one batch")
    for model, batch, chunk in CASES:
        whole, chunked = step_in_process(model, batch, None), step_in_process(model, batch, chunk)
        print(
            f"{model}, batch {batch}: whole takes {whole[0] / chunked[0]:.1f} times the memory of chunks of {chunk} "
            f"({whole[0]:,.0f} MiB on top of the model), chunks {chunked[1] / whole[1]:.2f} times the time"
        )
        sys.stdout.flush()
