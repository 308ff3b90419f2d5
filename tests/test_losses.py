"""The contrastive loss against a double loop."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cirray.models.losses import Temperature, attribute_loss, contrastive_loss


def units(count: int, dim: int, seed: int) -> Tensor:
    rows = torch.randn(count, dim, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1).float()


def by_hand(query: Tensor, target: Tensor, scale: float, ids: list[int] | None = None) -> float:
    """Mean over queries of -log(exp(own) / sum over targets of exp): query i wants target i."""
    total = 0.0
    for i, q in enumerate(query.double().tolist()):
        logits = []
        for j, t in enumerate(target.double().tolist()):
            if ids is not None and j != i and ids[j] == ids[i]:
                continue
            logits.append((j, scale * sum(a * b for a, b in zip(q, t, strict=True))))
        greatest = max(value for _, value in logits)
        denominator = sum(math.exp(value - greatest) for _, value in logits)
        own = next(value for j, value in logits if j == i)
        total += math.log(denominator) - (own - greatest)
    return total / len(query)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.integers(0, 4), st.integers(0, 10**6))
def test_hard_negatives_join_the_denominator_of_their_query(count: int, hard: int, seed: int) -> None:
    query, target = units(count, 5, seed), units(count, 5, seed + 1)
    own = units(count * max(hard, 1), 5, seed + 2).view(count, -1, 5)[:, :hard]
    found = contrastive_loss(query, target, torch.arange(count), 20.0, hard=own)
    total = 0.0
    for i in range(count):
        scores = [20.0 * float(query[i] @ other) for other in [*target, *own[i]]]
        total += math.log(sum(math.exp(score - scores[i]) for score in scores))
    assert float(found) == pytest.approx(total / count, rel=1e-4, abs=1e-4)


def test_against_a_gallery_the_batch_still_divides() -> None:
    query, gallery = units(3, 5, 0), units(9, 5, 1)
    wanted = torch.tensor([8, 0, 8])
    found = contrastive_loss(query, gallery, wanted, 20.0, batch=3)
    expected = torch.stack(
        [(20 * query[i] @ gallery.T).logsumexp(0) - 20 * query[i] @ gallery[wanted[i]] for i in range(3)]
    )
    assert float(found) == pytest.approx(float(expected.mean()), rel=1e-5)


sizes = st.integers(1, 9)
seeds = st.integers(0, 10**6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(sizes, st.integers(1, 6), st.sampled_from([1.0, 14.3, 100.0]), seeds)
def test_loss_is_cross_entropy_over_the_batch(count: int, dim: int, scale: float, seed: int) -> None:
    query, target = units(count, dim, seed), units(count, dim, seed + 1)
    found = contrastive_loss(query, target, torch.arange(count), scale)
    assert float(found.detach()) == pytest.approx(by_hand(query, target, scale), rel=1e-4, abs=1e-4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), seeds, st.booleans())
def test_copies_of_the_own_target_are_no_negatives(ids: list[int], seed: int, mask: bool) -> None:
    query, images = units(len(ids), 5, seed), units(4, 5, seed + 1)
    target = images[ids]
    found = contrastive_loss(query, target, torch.arange(len(ids)), 20.0, torch.tensor(ids) if mask else None)
    expected = by_hand(query, target, 20.0, ids if mask else None)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 4), st.integers(1, 9), seeds, st.booleans())
def test_the_workers_losses_add_up_to_the_whole(workers: int, count: int, seed: int, mask: bool) -> None:
    query, target = units(count, 4, seed).requires_grad_(), units(count, 4, seed + 1)
    ids = torch.arange(count) % 3 if mask else None
    whole = contrastive_loss(query, target, torch.arange(count), 50.0, ids)
    (gradient,) = torch.autograd.grad(whole, query)
    cuts = sorted(torch.randint(0, count + 1, (workers - 1,), generator=torch.Generator().manual_seed(seed)).tolist())
    bounds = [0, *cuts, count]
    parts = [contrastive_loss(query[a:b], target, torch.arange(a, b), 50.0, ids) for a, b in pairwise(bounds)]
    torch.testing.assert_close(sum(parts, torch.zeros(())), whole, atol=1e-5, rtol=1e-5)
    (added,) = torch.autograd.grad(sum(parts, torch.zeros(())), query)
    torch.testing.assert_close(added, gradient, atol=1e-5, rtol=1e-5)


def test_only_queries_choose_among_targets() -> None:
    query = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # both queries point at target 0: the second has -log(1 / (1 + e)), the first -log(e / (1 + e))
    first, second = math.log(1 + math.e) - 1, math.log(1 + math.e)
    found = contrastive_loss(query, target, torch.arange(2), 1.0)
    assert float(found.detach()) == pytest.approx((first + second) / 2, rel=1e-6)
    other_way = (math.log(2 * math.e) - 1 + math.log(2)) / 2
    assert float(found.detach()) != pytest.approx(other_way, rel=1e-2)


def test_a_worker_without_examples_adds_nothing() -> None:
    query = torch.zeros(0, 3, requires_grad=True)
    loss = contrastive_loss(query, units(4, 3, 0), torch.arange(0), 10.0, torch.zeros(4, dtype=torch.long))
    assert float(loss.detach()) == 0.0
    loss.backward()


def test_half_precision_features_are_scored_in_single_precision() -> None:
    query, target = units(6, 8, 0).half(), units(6, 8, 1).half()
    found = contrastive_loss(query, target, torch.arange(6), 100.0)
    assert found.dtype == torch.float32
    assert float(found.detach()) == pytest.approx(by_hand(query, target, 100.0), rel=1e-4)


def test_a_fixed_temperature_is_one_over_the_scale_and_not_trained() -> None:
    temperature = Temperature(0.01, learned=False)
    assert float(temperature().detach()) == pytest.approx(100.0, rel=1e-6)
    assert not temperature().requires_grad
    assert float(Temperature(0.001, learned=False)().detach()) == pytest.approx(1000.0, rel=1e-5)


def test_a_learned_temperature_starts_where_it_is_set_and_learns() -> None:
    temperature = Temperature(0.07, learned=True)
    scale = temperature()
    assert float(scale.detach()) == pytest.approx(1 / 0.07, rel=1e-6)
    scale.backward()
    assert float(temperature.logarithm.grad) == pytest.approx(1 / 0.07, rel=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("start", [0.001, 0.01, 0.02])
def test_a_learned_temperature_stays_within_100_and_can_leave_that_bound(start: float) -> None:
    temperature = Temperature(start, learned=True)
    optimizer = torch.optim.SGD(temperature.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        (-temperature()).backward()  # asks for a greater scale
        optimizer.step()
    assert float(temperature().detach()) == pytest.approx(100.0, rel=1e-5)
    for _ in range(3):
        optimizer.zero_grad()
        temperature().backward()
        optimizer.step()
    assert float(temperature().detach()) < 50.0


def attributes_by_hand(image: Tensor, classes: Tensor, labels: Tensor, sizes: list[int], scale: float) -> float:
    """Sum over images and attributes of -log softmax of the own class among those of its attribute, over A B."""
    total = 0.0
    for row in range(len(image)):
        start = 0
        for column, size in enumerate(sizes):
            label = int(labels[row, column])
            logits = [scale * float(image[row].double() @ classes[start + i].double()) for i in range(size)]
            if label >= 0:
                total += math.log(sum(math.exp(logit) for logit in logits)) - logits[label]
            start += size
    return total / (len(image) * len(sizes))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.lists(st.integers(2, 4), min_size=1, max_size=3), st.integers(1, 3), st.integers(0, 10**6))
def test_attributes_are_classified_one_by_one(count: int, sizes: list[int], workers: int, seed: int) -> None:
    image, classes = units(count, 5, seed), units(sum(sizes), 5, seed + 1)
    random = torch.Generator().manual_seed(seed)
    labels = torch.stack([torch.randint(-1, size, (count,), generator=random) for size in sizes], dim=1)
    expected = attributes_by_hand(image, classes, labels, sizes, 7.0)
    assert attribute_loss(image, classes, labels, sizes, 7.0, count).item() == pytest.approx(
        expected, rel=1e-4, abs=1e-6
    )
    bounds = [count * part // workers for part in range(workers + 1)]
    parts = [
        attribute_loss(image[start:end], classes, labels[start:end], sizes, 7.0, count)
        for start, end in pairwise(bounds)
    ]
    assert sum(part.item() for part in parts) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.integers(0, 10**6))
def test_excluded_candidates_are_no_negatives_but_the_own_target_stays(count: int, seed: int) -> None:
    query, target = units(count, 5, seed), units(count, 5, seed + 1)
    excluded = torch.rand(count, count, generator=torch.Generator().manual_seed(seed)) < 0.5
    total = 0.0
    for i in range(count):
        logits = [7.0 * float(query[i] @ target[j]) for j in range(count) if j == i or not excluded[i, j]]
        total += math.log(sum(math.exp(logit) for logit in logits)) - 7.0 * float(query[i] @ target[i])
    found = contrastive_loss(query, target, torch.arange(count), 7.0, excluded=excluded)
    assert found.item() == pytest.approx(total / count, rel=1e-4, abs=1e-6)
