"""Trials: what they add to the bare stage-2 loop, and what each holds of the shared features. Ratios of one run."""

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import ray
import torch
import torch.nn.functional as F

from cirray.config import Config, load_recipe
from cirray.data.triplets import Protocol
from cirray.metrics import MetricsLog
from cirray.progress import Poster
from cirray.runtime import connect
from cirray.tables import TripletTable
from cirray.training.combine import Combine
from cirray.training.loop import Loop
from cirray.training.task import StageInputs
from cirray.workers import Worker
from tuning.prepare import Reported, Start, as_frozen, with_config
from tuning.search import compare

IMAGES, CAPTIONS, TRIPLETS, WIDTH = 200_000, 20_000, 8_000, 128


def table(seed: int) -> TripletTable:
    """Random triplets."""
    random = torch.Generator().manual_seed(seed)
    rows = torch.randint(IMAGES, (2, TRIPLETS), generator=random)
    texts = torch.randint(CAPTIONS, (TRIPLETS,), generator=random)
    some = torch.arange(200)
    categories = {"all": (some, torch.arange(2_000))}
    variants = tuple((int(row),) for row in texts)
    subset = torch.zeros((TRIPLETS, 0), dtype=torch.long)
    return TripletTable(rows[0], rows[1] % 2_000, ("x",), variants, texts, categories, subset)


def start(config: Config) -> Start:
    """Random features: 200,000 pictures."""
    images = torch.randn(IMAGES, WIDTH)
    captions = torch.randn(CAPTIONS, WIDTH)
    arrays = {"images": images, "gallery": F.normalize(images, dim=-1), "captions": captions, "val_captions": captions}
    protocol = Protocol("random", exclude_reference=False)
    inputs = StageInputs(config, "", "", (), table(0), table(1), protocol)
    shared = {name: tensor.numpy() for name, tensor in arrays.items()}
    return Start(inputs, shared, Reported(table(2), captions.numpy()))


@ray.remote(num_cpus=1)
def bare(begin: Start) -> float:
    """Trains without Ray Tune; returns seconds."""
    config = begin.inputs.config
    worker = Worker.trial(config.compute, torch.device("cpu"))
    task = Combine(with_config(begin, config), worker, as_frozen(begin.frozen))
    log = MetricsLog(Path(tempfile.mkdtemp()) / "metrics.jsonl", "bare")
    began = time.monotonic()
    Loop(task, config.stage2.optimisation, config.compute, 0, worker, log, Poster(None)).run()
    return time.monotonic() - began


class Memory(ray.tune.Callback):
    """Looks at what the trials' processes hold of their own whenever one reports."""

    def __init__(self) -> None:
        self.most = 0.0

    def on_trial_result(self, iteration, trials, trial, result, **info) -> None:  # type: ignore[no-untyped-def]
        """Adds up the unique memory of all trials."""
        found = []
        for process in psutil.Process(os.getpid()).children(recursive=True):
            if "ImplicitFunc" in process.name() or "bundle" in process.name() or "trial" in process.name():
                found.append(process.memory_full_info().uss)
        if found:
            self.most = max(self.most, sum(found) / len(found))


def main() -> None:
    """Prints the ratios."""
    changes = {"stage2.optimisation.epochs": 6, "stage2.optimisation.validate_every": 1, "tune.trials": 1}
    config = load_recipe("tiny", changes)
    connect(4)
    begin = start(config)
    size = sum(array.nbytes for array in begin.frozen.values()) / 2**20
    ref = ray.put(begin)
    ray.get(bare.remote(ref))
    loop = min(ray.get(bare.remote(ref)) for _ in range(3))
    print(f"bare loop: 1.00x ({config.stage2.optimisation.epochs} epochs); shared features: {size:.0f} MiB")
    for concurrent in (1, 4):
        tuned = load_recipe("tiny", {**changes, "tune.concurrent": concurrent})
        memory = Memory()
        with tempfile.TemporaryDirectory() as folder:
            trials = compare(tuned, [{}], 6, begin, Path(folder), "bench", [memory])
        spent = sorted(float(trial.last["seconds"]) for trial in trials)
        print(
            f"trials, {concurrent} at a time: {spent[0] / loop:.2f}x the bare loop's time (fastest), "
            f"{spent[len(spent) // 2] / loop:.2f}x (median); {memory.most / 2**20:.0f} MiB of their own each"
        )


if __name__ == "__main__":
    main()
