"""The rule for several references and for unwanted things, against slow code and by its properties."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import cirray
from cirray.models.composition import UNWANTED_WEIGHT, compose_references, text_directions
from tests.support.bundles import fine_tuned, write_bundle
from tests.support.encoder_fixtures import tiny_encoder

Vector = list[float]
checked = settings(max_examples=40, deadline=None, derandomize=True)
counts, dims, seeds = st.integers(1, 4), st.integers(2, 8), st.integers(0, 10**6)


def units(*shape: int, seed: int) -> Tensor:
    rows = torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=-1, keepdim=True)


def unit(vector: Vector) -> Vector:
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector]


def slow(queries: list[Vector], weights: Vector, unwanted: list[Vector]) -> Vector:
    """One query by the two equations of the module."""
    total = [sum(w * row[i] for w, row in zip(weights, queries, strict=True)) for i in range(len(queries[0]))]
    query = unit(total)
    if not unwanted:
        return query
    direction = unit([sum(row[i] for row in unwanted) for i in range(len(query))])
    return unit([value - UNWANTED_WEIGHT * away for value, away in zip(query, direction, strict=True)])


@checked
@given(counts, st.integers(0, 3), dims, seeds)
def test_it_follows_its_equations(references: int, unwanted: int, dim: int, seed: int) -> None:
    queries, away = units(3, references, dim, seed=seed), units(3, unwanted, dim, seed=seed + 1)
    weights = 0.1 + torch.rand(3, references, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
    found = compose_references(queries, weights, away)
    for row in range(3):
        expected = slow(queries[row].tolist(), weights[row].tolist(), away[row].tolist())
        assert found[row].tolist() == pytest.approx(expected, abs=1e-9)
        assert compose_references(queries[row], weights[row], away[row]).tolist() == pytest.approx(expected, abs=1e-9)


def test_one_reference_alone_stays_as_it_is_bit_for_bit() -> None:
    query = units(1, 7, seed=0).float() * 1.0000001
    assert torch.equal(compose_references(query), query[0])
    assert torch.equal(compose_references(query, torch.tensor([3.0]), torch.empty(0, 7)), query[0])


@checked
@given(counts, dims, seeds)
def test_only_the_ratio_of_weights_matters(references: int, dim: int, seed: int) -> None:
    queries = units(references, dim, seed=seed)
    torch.testing.assert_close(compose_references(queries), compose_references(queries, torch.full((references,), 2.5)))


@checked
@given(dims, seeds)
def test_the_order_is_free_and_a_repeated_unwanted_thing_counts_once(dim: int, seed: int) -> None:
    queries, away = units(3, dim, seed=seed), units(2, dim, seed=seed + 1)
    weights = torch.tensor([1.0, 2.0, 0.5], dtype=torch.double)
    found = compose_references(queries, weights, away)
    torch.testing.assert_close(compose_references(queries.flip(0), weights.flip(0), away.flip(0)), found)
    torch.testing.assert_close(compose_references(queries, weights, torch.cat([away, away])), found)


@checked
@given(dims, seeds)
def test_an_unwanted_thing_becomes_less_similar(dim: int, seed: int) -> None:
    query, away = units(1, dim, seed=seed), units(1, dim, seed=seed + 1)
    before, after = (query @ away.T).item(), (compose_references(query, None, away) @ away[0]).item()
    assert after < before or before == pytest.approx(-1)


def test_the_direction_of_a_text_has_nothing_of_what_it_shares_with_the_neutral_text() -> None:
    neutral = torch.tensor([0.8, 0.6, 0.0])
    texts = torch.tensor([[0.8, 0.0, 0.6], [0.8, 0.6, 0.0]])
    red, nothing = text_directions(texts, neutral)
    torch.testing.assert_close(red, torch.tensor([0.0, -math.sqrt(0.5), math.sqrt(0.5)]))
    assert torch.equal(nothing, torch.zeros(3))  # a text that says nothing removes nothing


def test_a_model_encodes_unwanted_texts_with_the_text_tower_of_images(tmp_path) -> None:
    folder = write_bundle(tmp_path / "bundle", encoder=fine_tuned(tiny_encoder()), pretrained=tiny_encoder())
    model = cirray.load(folder)
    one, two = model.encode_unwanted(["red", "a blue square"])
    texts = model.encode_text(["red", "a blue square", ""])
    torch.testing.assert_close(one, (texts[0] - texts[2]) / (texts[0] - texts[2]).norm())
    torch.testing.assert_close(two, (texts[1] - texts[2]) / (texts[1] - texts[2]).norm())
    torch.testing.assert_close(model.encode_unwanted("red")[0], one)
