"""Reranked rankings against lists that are reranked name by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cirray.config.evaluation import EvaluateConfig
from cirray.config.recipe import load_recipe
from cirray.data.table import TripletTable
from cirray.errors import BundleError
from cirray.evaluation.bundle import evaluate_bundle
from cirray.evaluation.cosine import CosineRetriever
from cirray.evaluation.ranked_lists import RankedLists
from cirray.evaluation.ranking_files import Pairs, Rankings
from cirray.evaluation.reranked import RerankedRetriever, RerankedTop, moved
from cirray.evaluation.retriever import evaluate
from cirray.evaluation.submission import rank_names
from cirray.models.reranking import Reranker
from tests.support.bundles import write_bundle
from tests.support.small_catalog import write_small_catalog
from tests.test_answer_metrics import KEPT, REMOVED, System, systems
from tests.test_submission import CIRR, as_pairs, random_cirr


class Products(Reranker):
    """Scores by the product of all three parts: exact and often equal for small whole numbers."""

    def score(self, image: Tensor, text: Tensor, query: Tensor, candidates: Tensor) -> Tensor:
        return ((image * text).unsqueeze(1) * candidates).sum(dim=-1)

    def adjustment(self, image: Tensor, text: Tensor, query: Tensor, candidates: Tensor) -> Tensor:
        raise NotImplementedError


def texts(count: int, dim: int, seed: int) -> Tensor:
    return torch.randint(-2, 3, (count, dim), generator=torch.Generator().manual_seed(seed)).float()


def retriever(table: TripletTable, images: Tensor, queries: Tensor, text: Tensor, top: int) -> RerankedRetriever:
    first = CosineRetriever(table, images, queries)
    return RerankedRetriever(first, images, (images[table.reference], text), RerankedTop(Products(), top))


def by_hand(names: Sequence[str], scores: dict[str, float], top: int) -> list[str]:
    """Sorts the first `top` names by score; equal ones stay in their order."""
    first = sorted(names[:top], key=lambda name: -scores[name])
    return [*first, *names[top:]]


def products(image: Tensor, text: Tensor, images: Tensor, names: Sequence[str]) -> dict[str, float]:
    found = {}
    for name, row in zip(names, images.tolist(), strict=True):
        found[name] = sum(a * b * c for a, b, c in zip(image.tolist(), text.tolist(), row, strict=True))
    return found


@settings(max_examples=200, deadline=None, derandomize=True)
@given(systems(), st.booleans(), st.integers(1, 30), st.integers(0, 10**6))
def test_metrics_are_those_of_reranked_lists(system: System, exclude: bool, top: int, seed: int) -> None:
    """Recall, mAP, hard negatives, aspects, paraphrases; with and without references, and lists of any length."""
    table, text = system.table(), texts(len(system.queries), 3, seed)
    references = system.images[table.reference]
    lists = {
        str(row): tuple(by_hand(names, products(references[row], text[row], system.images, system.gallery), top))
        for row, names in enumerate(system.rankings(exclude))
    }
    pairs = Pairs("triplets", KEPT, {str(row): triplet for row, triplet in enumerate(system.triplets)})
    protocol = REMOVED if exclude else KEPT
    (expected,) = evaluate(RankedLists(pairs, Rankings(lists, "recall")), protocol)
    (found,) = evaluate(retriever(table, system.images, system.queries, text, top), protocol)
    assert found.metrics == pytest.approx(expected.metrics)
    assert found.undecided == expected.undecided == {}


@settings(max_examples=100, deadline=None, derandomize=True)
@given(systems(), st.booleans(), st.integers(1, 30), st.integers(1, 30), st.integers(0, 10**6))
def test_the_best_images_are_the_first_of_the_reranked_list(
    system: System, exclude: bool, top: int, k: int, seed: int
) -> None:
    table, text = system.table(), texts(len(system.queries), 3, seed)
    references = system.images[table.reference]
    category = next(iter(table.categories))
    scores, rows = retriever(table, system.images, system.queries, text, top).best(category, k, exclude)
    for row, names in enumerate(system.rankings(exclude)):
        expected = by_hand(names, products(references[row], text[row], system.images, system.gallery), top)
        found = [system.gallery[image] for image, score in zip(rows[row], scores[row], strict=True) if score > -1e9]
        assert found == expected[: min(k, len(expected))]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 20))
def test_image_sets_are_in_the_order_of_the_reranked_list(seed: int, top: int) -> None:
    table, images, queries = random_cirr(seed)
    text, names = texts(len(table), images.shape[1], seed), [str(row) for row in range(len(images))]
    ranked, _ = rank_names(table, CIRR, names, images, queries, len(images))
    lists = {
        str(row): tuple(by_hand(each, products(images[table.reference[row]], text[row], images, names), top))
        for row, each in enumerate(ranked)
    }
    (expected,) = evaluate(RankedLists(as_pairs(table, "cirr", "all"), Rankings(lists, "recall")), CIRR)
    (found,) = evaluate(retriever(table, images, queries, text, top), CIRR)
    assert found.metrics == pytest.approx(expected.metrics)
    assert any(name.startswith("Rs@") for name in found.metrics)


def test_ranks_from_k_on_and_padding_stay() -> None:
    ranks = np.array([[0, 2, 3, 7, -1]])
    assert moved(ranks, np.array([[2, 1, 0]])).tolist() == [[2, 0, 3, 7, -1]]


def test_scores_that_are_not_finite_are_refused() -> None:
    second = RerankedTop(Products(), 2)
    parts = [torch.full((1, 3), float("nan")), *(torch.ones(1, 3) for _ in range(2)), torch.ones(1, 2, 3)]
    with pytest.raises(FloatingPointError, match="the reranker's scores contain NaN"):
        second.order(*parts, torch.zeros(1, 2))


# ---------------------------------------------------------------------------------------------------------------------
# a bundle


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_catalog(tmp_path_factory.mktemp("data") / "data")


def evaluated(folder: Path, data: Path, top: int) -> tuple[dict[str, Any], str]:
    settings_ = {"data.root": str(data), "store": str(data.parent / "store"), "rerank.top": top}
    return evaluate_bundle(folder, load_recipe(EvaluateConfig, "tiny", settings_), "val")


def test_a_bundles_reranker_is_scored_as_a_method_of_its_own(ray_session: None, data: Path, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", reranker="artemis")
    plain, (report, table) = evaluated(folder, data, 0)[0], evaluated(folder, data, 5)
    *before, reranked = report["results"]
    assert before == plain["results"]
    assert (reranked["combining"], reranked["queries"]) == ("combiner + artemis@5", before[-1]["queries"])
    assert reranked["recall"] != before[-1]["recall"]
    from_5_on = ("5", "10", "50")
    assert [reranked["recall"][k] for k in from_5_on] == [before[-1]["recall"][k] for k in from_5_on]
    assert "FT combiner + artemis@5" in table


def test_a_bundle_without_reranker_cannot_rerank(ray_session: None, data: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"bundle has no reranker: train one with --stage3\.enabled true, or set"):
        evaluated(write_bundle(tmp_path / "bundle"), data, 5)
