"""Batches are decided by seed and epoch alone, and shared out completely."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cirray.cluster.worker import Worker
from cirray.config.compute import Compute
from cirray.training.sampling import Sampler, seed_epoch
from cirray.training.stages.combine import padded_variants
from cirray.training.stages.finetune import draw_variant


def member(rank: int, world: int) -> Worker:
    return Worker(rank, world, torch.device("cpu"), Compute())


many = settings(max_examples=200, deadline=None, derandomize=True)


@many
@given(st.integers(0, 60), st.integers(1, 70), st.booleans(), st.integers(0, 5), st.integers(0, 5))
def test_each_example_is_used_once_an_epoch(count: int, size: int, drop_last: bool, seed: int, epoch: int) -> None:
    sampler = Sampler(count, size, drop_last, seed)
    batches = list(sampler.epoch(epoch))
    assert len(batches) == sampler.steps()
    seen = [row for batch in batches for row in batch.rows.tolist()]
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(count))
    lost = count % size if drop_last else 0
    assert len(seen) == count - lost
    lengths = [len(batch) for batch in batches]
    assert all(length == size for length in lengths[:-1])
    assert all(0 < length <= size for length in lengths)
    for batch in batches:
        assert batch.draws.shape == batch.rows.shape
        assert bool(((batch.draws >= 0) & (batch.draws < 1)).all())


def order(seed: int, epoch: int) -> list[tuple[int, float]]:
    batches = Sampler(50, 7, False, seed).epoch(epoch)
    return [pair for batch in batches for pair in zip(batch.rows.tolist(), batch.draws.tolist(), strict=True)]


def test_seed_and_epoch_decide_everything() -> None:
    expected = order(3, 2)
    torch.manual_seed(99)
    assert order(3, 2) == expected
    for seed, epoch in ((3, 1), (3, 3), (2, 2), (2, 3)):
        other = order(seed, epoch)
        assert [row for row, _ in other] != [row for row, _ in expected]
        assert sorted(draw for _, draw in other) != sorted(draw for _, draw in expected)


def test_batches_are_shuffled() -> None:
    rows = [row for row, _ in order(0, 0)]
    assert rows != sorted(rows)


@many
@given(st.integers(1, 9), st.integers(0, 40))
def test_workers_share_every_batch_exactly(world: int, count: int) -> None:
    workers = [member(rank, world) for rank in range(world)]
    covered = [i for worker in workers for i in range(count)[worker.share(count)]]
    assert covered == list(range(count))  # each once, in rank order
    shares = [len(range(count)[worker.share(count)]) for worker in workers]
    assert all(worker.shares(count) == shares for worker in workers)
    assert max(shares) == -(-count // world)  # nobody has more than needed


def test_alone_has_everything() -> None:
    worker = Worker.single()
    assert (worker.rank, worker.world) == (0, 1)
    assert worker.share(7) == slice(0, 7)
    assert worker.shares(7) == [7]
    rows = torch.ones(2, 3)
    assert worker.gather(rows, [2]) is rows
    assert worker.broadcast("x") == "x"
    assert float(worker.sum(torch.tensor(2.0))) == 2.0
    assert worker.checkpoint() is None


@pytest.mark.parametrize("variants", [1, 2, 4])
def test_caption_variants_are_drawn_about_equally_often(variants: int) -> None:
    """25 % each of four, in stage 1 and in stage 2 alike."""
    rows = tuple(range(10, 10 + variants))
    padded, counts = padded_variants((rows, (3, 4, 5, 6, 7)))
    for_one, for_all = Counter[int](), Counter[int]()
    sampler = Sampler(1000, 100, False, 0)
    for epoch in range(8):
        for batch in sampler.epoch(epoch):
            for draw in batch.draws.tolist():
                for_one[draw_variant(rows, draw)] += 1
            first = torch.zeros(len(batch), dtype=torch.long)
            drawn = (batch.draws * counts[first]).long().unsqueeze(1)  # as stage 2 has it
            for_all.update(padded[first].gather(1, drawn).squeeze(1).tolist())
    assert for_one == for_all
    assert set(for_one) == set(rows)
    assert all(abs(count / 8000 - 1 / variants) < 0.02 for count in for_one.values())


def test_the_edges_of_a_draw() -> None:
    almost_one = float(torch.nextafter(torch.tensor(1.0, dtype=torch.double), torch.tensor(0.0, dtype=torch.double)))
    assert draw_variant((5, 6, 7), 0.0) == 5
    assert draw_variant((5, 6, 7), almost_one) == 7


def test_one_example_draws_another_variant_in_other_epochs() -> None:
    drawn = set()
    for epoch in range(20):
        (batch,) = Sampler(30, 30, False, 0).epoch(epoch)
        place = batch.rows.tolist().index(11)
        drawn.add(draw_variant((0, 1, 2, 3), float(batch.draws[place])))
    assert drawn == {0, 1, 2, 3}


def test_dropout_is_seeded_by_epoch_and_rank() -> None:
    found = []
    for seed, epoch, rank in ((0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0)):
        seed_epoch(seed, epoch, rank)
        found.append(torch.rand(3).tolist())
        seed_epoch(seed, epoch, rank)
        assert torch.rand(3).tolist() == found[-1]
    assert len({tuple(numbers) for numbers in found}) == 4
