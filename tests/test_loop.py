"""The loop that every stage shares, with a task small enough to compute by hand."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cirray.cluster.board import Poster
from cirray.cluster.worker import Worker
from cirray.config.compute import Compute
from cirray.config.training import Optimisation
from cirray.storage.location import Location
from cirray.storage.metrics_log import MetricsLog
from cirray.training.average import WeightAverage
from cirray.training.checkpoints import Progress, read_checkpoint, read_weights, write_checkpoint
from cirray.training.loop import Loop, build_optimizer, learning_rate_factor
from cirray.training.sampling import Batch
from cirray.training.task import Task, Validation

# ---------------------------------------------------------------------------------------------------------------------
# the learning rate


def optimisation(**changes: Any) -> Optimisation:
    return Optimisation.model_validate({"lr": 0.05, "batch_size": 4, "epochs": 3, **changes})


@given(st.integers(1, 300), st.floats(0.0, 0.9), st.sampled_from(["constant", "cosine"]))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_learning_rate_factor(total: int, warmup: float, schedule: str) -> None:
    set_to = optimisation(warmup=warmup, schedule=schedule)
    factors = [learning_rate_factor(step, total, set_to) for step in range(total)]
    rising = int(warmup * total)
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[:rising] == pytest.approx([(step + 1) / rising for step in range(rising)])
    if schedule == "constant":
        assert factors[rising:] == [1.0] * (total - rising)
        return
    assert factors[rising] == 1.0
    assert factors[rising:] == sorted(factors[rising:], reverse=True)
    left = total - rising
    assert factors[rising:] == pytest.approx([math.cos(math.pi * i / (2 * left)) ** 2 for i in range(left)])
    assert learning_rate_factor(total, total, set_to) == pytest.approx(0.0, abs=1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# progress, metrics, checkpoints


def test_progress_counts_validations_without_a_better_one() -> None:
    progress = Progress()
    found = []
    for epoch, selection in enumerate([5.0, 7.0, 6.0, 7.0, 6.5, 8.0], start=1):
        progress.record(epoch, selection)
        found.append((progress.epoch, progress.best, progress.best_epoch, progress.stale))
    assert found == [(1, 5.0, 1, 0), (2, 7.0, 2, 0), (3, 7.0, 2, 1), (4, 7.0, 4, 2), (5, 7.0, 4, 3), (6, 8.0, 6, 0)]


def test_a_first_validation_of_zero_is_the_best() -> None:
    progress = Progress()
    progress.record(1, 0.0)
    assert (progress.best, progress.best_epoch, progress.stale) == (0.0, 1, 0)


def test_metrics_of_stages_share_a_file(tmp_path: Path) -> None:
    file = Location.parse(tmp_path / "m.jsonl")
    one, two = MetricsLog(file, "stage1"), MetricsLog(file, "stage2")
    assert one.rows() == []
    for epoch in (1, 2, 3):
        one.append({"epoch": epoch, "loss": 0.5})
        two.append({"epoch": epoch})
    one.rewind(1)
    assert [(row["stage"], row["epoch"]) for row in one.rows()] == [
        ("stage1", 1),
        ("stage2", 1),
        ("stage2", 2),
        ("stage2", 3),
    ]
    assert one.rows()[0] == {"stage": "stage1", "epoch": 1, "loss": 0.5}
    one.append({"epoch": 2})
    two.rewind(0)
    assert [(row["stage"], row["epoch"]) for row in two.rows()] == [("stage1", 1), ("stage1", 2)]
    assert [path.name for path in tmp_path.iterdir()] == ["m.jsonl"]


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path: Path) -> None:
    log = MetricsLog(Location.parse(tmp_path / "m.jsonl"), "s")
    log.append({"epoch": 1})
    log.append({"epoch": 2})
    content = log.path.read_text(encoding="utf-8")
    for cut in range(1, len('{"stage": "s", "epoch": 2}\n')):
        log.path.write_text(content[:-cut], encoding="utf-8")
        assert [row["epoch"] for row in log.rows()] == [1]
        log.rewind(2)
        log.append({"epoch": 2})
        assert log.path.read_text(encoding="utf-8") == content


def two_parameters(seed: int) -> dict[str, nn.Parameter]:
    random = torch.Generator().manual_seed(seed)
    return {
        "a": nn.Parameter(torch.randn(2, 3, generator=random)),
        "b": nn.Parameter(torch.randn((), generator=random)),
    }


def take_steps(trained: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, count: int) -> None:
    for step in range(count):
        optimizer.zero_grad()
        loss = (trained["a"] ** 2).sum() * (step + 1) + (trained["b"] - 1) ** 2
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_a_checkpoint_takes_training_up_where_it_was(name: str) -> None:
    set_to = optimisation(optimizer=name, weight_decay=0.1)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    trained = two_parameters(0)
    optimizer = build_optimizer(trained, set_to)
    take_steps(trained, optimizer, 3)
    progress = Progress(epoch=3, best=1.5, best_epoch=2, stale=1, seconds=4.0)
    none = WeightAverage(trained, None)
    folder = write_checkpoint(trained, optimizer, scaler, progress, none)
    written = read_weights(folder)
    take_steps(trained, optimizer, 2)

    again = two_parameters(1)
    other = build_optimizer(again, set_to)
    assert read_checkpoint(folder, again, other, scaler, none) == progress
    for key, tensor in written.items():
        assert torch.equal(again[key].detach(), tensor)
    take_steps(again, other, 2)
    for key, parameter in trained.items():
        assert torch.equal(again[key].detach(), parameter.detach())
    shutil.rmtree(folder)


def test_a_temperature_is_never_decayed() -> None:
    trained = {"w": nn.Parameter(torch.ones(2)), "t": nn.Parameter(torch.tensor(3.0))}
    optimizer = build_optimizer(trained, optimisation(weight_decay=0.5))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {id(trained["w"]): 0.5, id(trained["t"]): 0.0}
    assert type(optimizer) is torch.optim.AdamW
    assert type(build_optimizer(trained, optimisation(optimizer="adam"))) is torch.optim.Adam


# ---------------------------------------------------------------------------------------------------------------------
# the loop


class Toy(Task):
    """Fits a line to ten points, with dropout, and validates as told."""

    unit = "points"

    def __init__(self, selections: list[float] | None = None, explode_in: int | None = None) -> None:
        torch.manual_seed(0)
        self.line = nn.Linear(3, 1)
        self.line.bias.requires_grad_(False)
        self.dropout = nn.Dropout(0.3)
        random = torch.Generator().manual_seed(1)
        self.x = torch.randn(10, 3, generator=random)
        self.y = self.x @ torch.tensor([1.0, -2.0, 3.0]) + 0.5
        self.examples = 10
        self.selections = selections
        self.explode_in = explode_in
        self.validated: list[int] = []
        self.batches: list[list[int]] = []
        self.inference: list[bool] = []

    def modules(self) -> Mapping[str, nn.Module]:
        return {"line": self.line}

    def backward(self, batch: Batch, grad_scale: Callable[[Tensor], Tensor]) -> Tensor:
        self.batches.append(batch.rows.tolist())
        error = self.line(self.dropout(self.x[batch.rows])).squeeze(1) - self.y[batch.rows]
        loss = (error**2).mean()
        if self.explode_in is not None and len(self.batches) > 3 * (self.explode_in - 1):
            loss = loss * torch.inf
        grad_scale(loss).backward()
        return loss.detach()

    def validate(self, epoch: int) -> Validation:
        self.validated.append(epoch)
        self.inference.append(torch.is_inference_mode_enabled())
        error = float(((self.line(self.x).squeeze(1) - self.y) ** 2).mean())
        selection = self.selections[epoch - 1] if self.selections else -error
        return Validation({"all R@1": selection, "all Rs@2": selection}, selection)


class Desk(Worker):
    """A worker alone that keeps what is reported, and can be handed a checkpoint to resume from."""

    def __init__(self, resume: Path | None = None) -> None:
        super().__init__(0, 1, torch.device("cpu"), Compute(), keeps_checkpoints=True)
        self.resume = resume
        self.reports: list[tuple[dict[str, Any], Path | None]] = []

    def checkpoint(self) -> Path | None:
        return self.resume

    def report(self, metrics: dict[str, Any], folder: Path | None) -> None:
        self.reports.append((metrics, folder))


def loop(task: Task, worker: Worker, log: Path, **changes: Any) -> Loop:
    return Loop(
        task, optimisation(**changes), Compute(), 5, worker, MetricsLog(Location.parse(log), "toy"), Poster(None)
    )


def test_all_epochs_run_alone(tmp_path: Path) -> None:
    task = Toy()
    running = loop(task, Worker.single(), tmp_path / "m.jsonl")
    running.run()
    assert [len(batch) for batch in task.batches] == [4, 4, 2] * 3
    assert task.validated == [1, 2, 3]
    assert task.inference == [True] * 3
    assert set(running.trained) == {"line.weight"}
    rows = running.log.rows()
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert set(rows[0]) == {"stage", "epoch", "loss", "selection", "all R@1", "all Rs@2", "points_per_s", "seconds"}
    assert rows[2]["selection"] > rows[0]["selection"]
    assert running.progress.seconds > 0


def test_training_is_that_of_plain_torch(tmp_path: Path) -> None:
    """AdamW with warm-up, cosine and clipping, spelled out."""
    task, plain = Toy(), Toy()
    task.dropout.p = plain.dropout.p = 0.0
    changes = {"warmup": 0.25, "schedule": "cosine", "clip_norm": 0.5, "weight_decay": 0.1, "eps": 1e-6}
    loop(task, Worker.single(), tmp_path / "m.jsonl", **changes).run()
    weight = plain.line.weight.detach().clone()
    first, second = torch.zeros(1, 3), torch.zeros(1, 3)
    for step, rows in enumerate(task.batches):
        factor = (step + 1) / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / 7))
        lr, x, y = 0.05 * factor, task.x[rows], task.y[rows]
        error = x @ weight[0] + plain.line.bias.detach() - y
        gradient = (2 * error.unsqueeze(1) * x).mean(dim=0, keepdim=True)
        norm = float(gradient.norm())
        gradient = gradient * min(1.0, 0.5 / (norm + 1e-6))
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        mean, square = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
        weight = weight - lr * 0.1 * weight - lr * mean / (square.sqrt() + 1e-6)
    torch.testing.assert_close(task.line.weight.detach(), weight, atol=1e-5, rtol=1e-5)


def test_the_average_is_validated_and_kept_but_not_trained_on(tmp_path: Path) -> None:
    plain, averaged, desk = Toy(), Toy(), Desk()
    loop(plain, Worker.single(), tmp_path / "plain.jsonl").run()
    weights: list[Tensor] = []
    backward = averaged.backward

    def remember(batch: Batch, grad_scale: Callable[[Tensor], Tensor]) -> Tensor:
        weights.append(averaged.line.weight.detach().clone())
        return backward(batch, grad_scale)

    averaged.backward = remember  # type: ignore[method-assign]
    running = loop(averaged, desk, tmp_path / "averaged.jsonl", ema=0.8)
    running.run()
    assert torch.equal(averaged.line.weight, plain.line.weight)
    expected = weights[0]
    for step, weight in enumerate([*weights[1:], averaged.line.weight.detach()], start=1):
        decay = min(0.8, step / (step + 9))
        expected = decay * expected + (1 - decay) * weight
    kept = read_weights(desk.reports[-1][1] or Path())["line.weight"]
    torch.testing.assert_close(kept, expected)
    error = float(((kept @ plain.x.T + plain.line.bias - plain.y) ** 2).mean())
    assert running.log.rows()[-1]["selection"] == pytest.approx(-error)


def test_validation_only_now_and_then_but_always_at_the_end(tmp_path: Path) -> None:
    task, desk = Toy(), Desk()
    loop(task, desk, tmp_path / "m.jsonl", epochs=5, validate_every=2).run()
    assert task.validated == [2, 4, 5]
    assert [metrics["epoch"] for metrics, _ in desk.reports] == [2, 4, 5]
    assert all(folder is not None for _, folder in desk.reports)


@pytest.mark.parametrize(
    ("selections", "patience", "last"),
    [
        ([3, 2, 1, 9, 9, 9], 2, 3),
        ([1, 2, 3, 2, 4, 1], 2, 6),
        ([1, 2, 2, 2, 3, 4], 2, 4),
        ([3, 2, 1, 0, 0, 0], None, 6),
    ],
)
def test_patience(selections: list[float], patience: int | None, last: int, tmp_path: Path) -> None:
    task, desk = Toy(selections), Desk()
    running = loop(task, desk, tmp_path / "m.jsonl", epochs=6, patience=patience)
    running.run()
    assert task.validated[-1] == last == running.progress.epoch
    assert desk.reports[-1][0]["selection"] == selections[last - 1]


def test_divergence_stops_without_a_checkpoint(tmp_path: Path) -> None:
    task, desk = Toy(explode_in=2), Desk()
    loop(task, desk, tmp_path / "m.jsonl", epochs=5).run()
    assert task.validated == [1]
    assert desk.reports[-1] == ({"diverged": 2}, None)
    assert len(task.batches) == 6


@pytest.mark.parametrize("ema", [None, 0.8])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("died_after", [1, 3])
def test_a_resumed_run_is_an_undisturbed_one(died_after: int, schedule: str, ema: float | None, tmp_path: Path) -> None:
    changes = {"epochs": 5, "schedule": schedule, "warmup": 0.2, "ema": ema}
    task, desk = Toy(), Desk()
    loop(task, desk, tmp_path / "whole.jsonl", **changes).run()

    log = tmp_path / "resumed.jsonl"
    shutil.copy(tmp_path / "whole.jsonl", log)  # the killed try had logged more than its checkpoint holds
    again, other = Toy(), Desk(resume=desk.reports[died_after - 1][1])
    torch.manual_seed(1234)
    resumed = loop(again, other, log, **changes)
    resumed.run()
    assert again.validated == list(range(died_after + 1, 6))
    assert again.batches == task.batches[3 * died_after :]
    assert torch.equal(again.line.weight, task.line.weight)
    rows = [{key: row[key] for key in ("epoch", "loss", "selection")} for row in resumed.log.rows()]
    undisturbed = MetricsLog(Location.parse(tmp_path / "whole.jsonl"), "toy").rows()
    assert rows == [{key: row[key] for key in ("epoch", "loss", "selection")} for row in undisturbed]
    assert [metrics for metrics, _ in other.reports] == [metrics for metrics, _ in desk.reports[died_after:]]


def test_a_run_that_was_done_does_nothing_more(tmp_path: Path) -> None:
    desk = Desk()
    loop(Toy([3, 2, 1]), desk, tmp_path / "m.jsonl", patience=1).run()
    again = Toy([3, 2, 1])
    loop(again, Desk(resume=desk.reports[-1][1]), tmp_path / "m.jsonl", patience=1).run()
    assert again.batches == []


def test_a_worker_alone_leaves_no_checkpoints_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    loop(Toy(), Worker.single(), tmp_path / "m.jsonl").run()
    assert list((tmp_path / "temporary").iterdir()) == []
