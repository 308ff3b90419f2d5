"""What holds of every reranker that the configuration can choose."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cirray.config.registry import RERANKERS
from cirray.config.reranking import RerankerSettings
from cirray.models.reranking import Reranker, build_reranker

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
DIM = 6


@pytest.fixture(params=RERANKERS)
def chosen(request: pytest.FixtureRequest) -> RerankerSettings:
    return RerankerSettings(function=request.param, hidden=10)


@pytest.fixture
def untrained(chosen: RerankerSettings) -> Reranker:
    return build_reranker(DIM, chosen).eval()


@pytest.fixture
def trained(chosen: RerankerSettings) -> Reranker:
    return shaken(build_reranker(DIM, chosen)).eval()


def shaken(reranker: Reranker) -> Reranker:
    """Gives every parameter a random value, so that none is 0 as before training."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in reranker.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random))
    return reranker


def inputs(queries: int = 4, candidates: int = 5, dim: int = DIM, seed: int = 0) -> Inputs:
    random = torch.Generator().manual_seed(seed)
    image, text, query = (torch.randn(queries, dim, generator=random) for _ in range(3))
    return 3 * image, text / 2, F.normalize(query, dim=-1), 2 * torch.randn(queries, candidates, dim, generator=random)


def cosines(query: Tensor, candidates: Tensor) -> Tensor:
    return torch.einsum("bd,bkd->bk", query, F.normalize(candidates, dim=-1))


def test_before_training_scores_are_the_first_stages(untrained: Reranker) -> None:
    image, text, query, candidates = inputs()
    torch.testing.assert_close(untrained.score(image, text, query, candidates), cosines(query, candidates))


def test_after_training_they_are_not(trained: Reranker) -> None:
    image, text, query, candidates = inputs()
    found = trained.score(image, text, query, candidates)
    expected = float(trained.cosine_weight.detach()) * cosines(query, candidates)
    assert not torch.allclose(found - expected, (found - expected).mean(dim=1, keepdim=True), atol=1e-3)


def test_equal_candidates_have_equal_scores(trained: Reranker) -> None:
    image, text, query, candidates = inputs(candidates=7)
    candidates[:, 3] = candidates[:, 0]
    found = trained.score(image, text, query, candidates)
    torch.testing.assert_close(found[:, 3], found[:, 0])


def test_a_score_depends_on_no_other_candidate_and_no_other_query(trained: Reranker) -> None:
    image, text, query, candidates = inputs()
    found = trained.score(image, text, query, candidates)
    alone = [
        trained.score(
            image[row : row + 1], text[row : row + 1], query[row : row + 1], candidates[row : row + 1, [column]]
        )
        for row in range(4)
        for column in range(5)
    ]
    torch.testing.assert_close(torch.cat(alone).view(4, 5), found)


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_a_score_depends_on_every_part(part: int, trained: Reranker) -> None:
    changed = list(inputs())
    changed[part] = inputs(seed=1)[part]
    assert not torch.allclose(trained.score(*changed), trained.score(*inputs()), atol=1e-3)


def test_lengths_of_raw_features_do_not_matter(trained: Reranker) -> None:
    image, text, query, candidates = inputs()
    longer = trained.score(7 * image, 0.1 * text, query, 5 * candidates)
    torch.testing.assert_close(longer, trained.score(image, text, query, candidates))


def test_no_query_vector_ranks_like_it(trained: Reranker) -> None:
    """The score is not linear in the unit candidate, as that of every query vector is."""
    image, text, query, candidates = inputs(candidates=2)
    first, second = F.normalize(candidates, dim=-1).unbind(1)
    between = F.normalize(first + second, dim=-1)
    found = trained.score(image, text, query, torch.stack([first, second, between], dim=1))
    linear = (found[:, 0] + found[:, 1]) / (first + second).norm(dim=1)
    assert not torch.allclose(found[:, 2], linear, atol=1e-2)


@pytest.mark.parametrize(("dim", "hidden"), [(5, 1), (7, 13), (16, 12)])
def test_any_widths_fit(dim: int, hidden: int, chosen: RerankerSettings) -> None:
    reranker = build_reranker(dim, chosen.model_copy(update={"hidden": hidden})).eval()
    assert reranker.score(*inputs(dim=dim)).shape == (4, 5)


def test_no_queries_have_no_scores(trained: Reranker) -> None:
    """The share of a worker may be empty."""
    assert trained.train().score(*inputs(queries=0)).shape == (0, 5)
    assert trained.eval().score(*inputs(queries=0)).shape == (0, 5)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e4])
def test_extreme_features_give_finite_scores_and_gradients(scale: float, trained: Reranker) -> None:
    image, text, query, candidates = inputs()
    for parts in [
        (scale * image, text, candidates),
        (image, scale * text, candidates),
        (image, text, scale * candidates),
    ]:
        trained.zero_grad()
        found = trained.score(parts[0], parts[1], query, parts[2])
        assert bool(found.isfinite().all())
        found.square().sum().backward()
        assert all(bool(p.grad.isfinite().all()) for p in trained.parameters() if p.grad is not None)


def test_gradients_reach_every_parameter(trained: Reranker) -> None:
    parts = [part.double() for part in inputs(40, 7)]
    logits = trained.double().score(*parts)
    F.cross_entropy(logits, torch.zeros(40, dtype=torch.long)).backward()
    for name, parameter in trained.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 1e-9, name


def test_training_can_leave_the_first_stages_order(untrained: Reranker) -> None:
    """A parameter that is 0 at first must have a gradient all the same."""
    F.cross_entropy(untrained.score(*inputs(40, 7)), torch.zeros(40, dtype=torch.long)).backward()
    moved = [
        name for name, p in untrained.named_parameters() if p.grad is not None and float(p.grad.abs().max()) > 1e-6
    ]
    assert set(moved) > {"cosine_weight"}


def test_dropout_acts_in_training_only(chosen: RerankerSettings) -> None:
    for rate in (0.0, 0.5):
        settings = chosen.model_copy(update={"hidden": 40, "dropout": rate})
        reranker = shaken(build_reranker(DIM, settings))
        trained, used = reranker.train().score(*inputs()), reranker.eval().score(*inputs())
        assert torch.allclose(trained, used, atol=1e-4) == (rate == 0.0)


def test_there_are_several() -> None:
    assert {"artemis", "attention"} <= set(RERANKERS)
