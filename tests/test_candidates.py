"""The candidates of stage 3 against lists made by hand."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cirray.data.table import TripletTable
from cirray.training.candidates import Candidates, mine_candidates
from tests.test_answer_metrics import System, systems


def by_hand(
    table: TripletTable, row: int, ranking: list[int], top: int, keys: list[str] | None
) -> tuple[list[int], list[bool]]:
    """Returns the candidates of a query, and which of them are no negatives."""
    target = int(table.target[row])
    first = ranking[:top]
    if target not in first:
        first = [*first[:-1], target]
    right = set() if table.positives is None else set(table.positives[row].tolist())
    copies = set() if keys is None else {image for image, key in enumerate(keys) if key == keys[target]}
    return first, [image != target and image in right | copies for image in first]


def rankings(system: System, exclude: bool) -> list[list[int]]:
    return [[system.gallery.index(name) for name in names] for names in system.rankings(exclude)]


def mined(system: System, top: int, exclude: bool = False, keys: list[str] | None = None) -> Candidates:
    return mine_candidates(system.table(), system.images, system.queries, top, exclude, keys)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(systems(), st.integers(2, 30), st.booleans(), st.integers(1, 4))
def test_candidates_are_the_best_images_and_the_target(
    system: System, top: int, by_content: bool, contents: int
) -> None:
    keys = [str(image % (2 + contents)) for image in range(len(system.gallery))] if by_content else None
    found, table = mined(system, top, keys=keys), system.table()
    for row, ranking in enumerate(rankings(system, exclude=False)):
        images, masked = by_hand(table, row, ranking, top, keys)
        assert found.images[row].tolist() == images
        assert found.masked[row].tolist() == masked
        assert images[int(found.target[row])] == int(table.target[row])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(systems(), st.integers(2, 30))
def test_an_excluded_reference_is_no_candidate(system: System, top: int) -> None:
    """In a gallery that is not larger than the list it is masked, so that all lists have one length."""
    found, table = mined(system, top, exclude=True), system.table()
    for row, ranking in enumerate(rankings(system, exclude=True)):
        reference = int(table.reference[row])
        images, masked = by_hand(table, row, ranking, top, None)
        rest = [reference] if len(images) < found.images.shape[1] else []
        assert found.images[row].tolist() == [*images, *rest]
        assert found.masked[row].tolist() == [*masked, *(True for _ in rest)]


def test_candidates_of_some_queries() -> None:
    whole = Candidates(torch.tensor([[1, 2], [3, 4], [5, 6]]), torch.tensor([0, 1, 0]), torch.eye(3, 2) > 0)
    some = whole.of(torch.tensor([2, 0]))
    assert some.images.tolist() == [[5, 6], [1, 2]]
    assert (some.target.tolist(), some.masked.tolist()) == ([0, 0], [[False, False], [True, False]])


def test_only_the_train_gallery_has_candidates() -> None:
    """Images of other splits are in the table of images, but not in the gallery."""
    images = torch.eye(4)
    table = System((), ("a", "b", "c", "d"), images, images).table()
    table = replace(
        table,
        reference=torch.tensor([0]),
        target=torch.tensor([1]),
        gallery=torch.tensor([3, 1, 0]),
    )
    found = mine_candidates(table, images, torch.tensor([[0.1, 0.2, 1.0, 0.9]]), 2, False, None)
    assert found.images.tolist() == [[3, 1]]
