"""Overhead of Ray Tune trials over the bare stage-2 loop, in time and memory, as ratios within one run."""

import os
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import ray
import torch

from cirray.cluster.board import Poster
from cirray.cluster.session import connect
from cirray.cluster.worker import Worker
from cirray.config.recipe import load_recipe
from cirray.config.tuning import TuneConfig
from cirray.data.records import Protocol
from cirray.data.table import TripletTable
from cirray.features.frozen import FrozenFeatures
from cirray.storage.location import Location
from cirray.storage.metrics_log import MetricsLog
from cirray.training.loop import Loop
from cirray.training.stages.combine import CombiningTask
from cirray.training.task import StageInputs
from tuning.prepare import REPORTED, Start, with_config
from tuning.search import search
from tuning.space import Domain, Space

IMAGES, CAPTIONS, TRIPLETS, WIDTH = 400_000, 20_000, 8_000, 128


def table(seed: int) -> TripletTable:
    """Returns a table of random triplets."""
    random = torch.Generator().manual_seed(seed)
    rows = torch.randint(IMAGES, (2, TRIPLETS), generator=random)
    texts = torch.randint(CAPTIONS, (TRIPLETS,), generator=random)
    some = torch.arange(200)
    categories = {"all": (some, torch.arange(2_000))}
    variants = tuple((int(row),) for row in texts)
    subset = torch.zeros((TRIPLETS, 0), dtype=torch.long)
    return TripletTable(rows[0], rows[1] % 2_000, ("x",), variants, texts, categories, subset, torch.arange(2_000))


def start(config: TuneConfig) -> Start:
    """Returns the shared inputs of trials: random features of 400,000 pictures."""
    images = torch.randn(IMAGES, WIDTH)
    captions = torch.randn(CAPTIONS, WIDTH)
    features = FrozenFeatures.of(images, {"train": captions, "val": captions, REPORTED: captions})
    protocol = Protocol("random", exclude_reference=False)
    nowhere = Location.parse(".")
    inputs = StageInputs(config, nowhere, nowhere, (), table(0), table(1), protocol)
    return Start(inputs, features, table(2))


@ray.remote(num_cpus=1)
def bare(begin: Start) -> tuple[float, float]:
    """Trains without Ray Tune; returns the seconds and the private memory in MiB."""
    config = begin.inputs.config
    worker = Worker.trial(config.compute, torch.device("cpu"))
    task = CombiningTask(with_config(begin, config), worker, begin.features)
    log = MetricsLog(Location.parse(tempfile.mkdtemp()) / "metrics.jsonl", "bare")
    began = time.monotonic()
    Loop(task, config.stage2.optimisation, config.compute, 0, worker, log, Poster(None)).run()
    return time.monotonic() - began, anonymous(os.getpid())


def anonymous(pid: int) -> float:
    """Returns the private memory of a process in MiB, without that shared with the object store."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


class Memory(threading.Thread):
    """Samples the memory of the trials' processes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0.0
        self.over = threading.Event()

    def run(self) -> None:
        """Records the maximum of all processes."""
        while not self.over.wait(0.5):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error, OSError, StopIteration):
                    if "ImplicitFunc" in "".join(process.cmdline()):
                        self.most = max(self.most, anonymous(process.pid))


def main() -> None:
    """Prints the ratios."""
    changes = {"stage2.optimisation.epochs": 4, "stage2.optimisation.validate_every": 1, "tune.scheduler": "none"}
    config = load_recipe(TuneConfig, "tiny", changes)
    connect(2)
    begin = start(config)
    assert begin.features is not None
    size = begin.features.nbytes / 2**20
    ref = ray.put(begin)
    ray.get(bare.remote(ref))
    runs = [ray.get(bare.remote(ref)) for _ in range(3)]
    loop, own = min(seconds for seconds, _ in runs), min(memory for _, memory in runs)
    print(f"bare loop: 1.00x, {own:.0f} MiB private; the shared features: {size:.0f} MiB")
    lr = config.stage2.optimisation.lr
    space = Space("bench", {"stage2.optimisation.lr": Domain("uniform", (lr, lr * 1.0001))})
    for concurrent in (1, 2):
        tuned = load_recipe(TuneConfig, "tiny", {**changes, "tune.concurrent": concurrent, "tune.trials": 4})
        memory = Memory()
        memory.start()
        with tempfile.TemporaryDirectory() as folder:
            trials = search(tuned, space, begin, Location.parse(folder))
        memory.over.set()
        spent = sorted(float(trial.last["seconds"]) for trial in trials)
        print(
            f"trials, {concurrent} at a time: {spent[0] / loop:.2f}x the bare loop's time (fastest), "
            f"{spent[len(spent) // 2] / loop:.2f}x (median); at most {memory.most:.0f} MiB private each"
        )


if __name__ == "__main__":
    main()
