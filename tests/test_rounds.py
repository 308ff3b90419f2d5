"""The simulated user: what they say, when they stop, and how each rule refines a query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import pytest

from cirray.data.exam import Goal
from cirray.evaluation.rounds import Rule, converse, converse_all, next_wrong, summarize

COLOURS, SLEEVES, NECKS = ("red", "blue", "green"), ("long", "short"), ("crew", "scoop")
ITEMS: dict[str, dict[str, str]] = {
    "-".join(values): dict(zip(("colour", "sleeve", "neck"), values, strict=True))
    for values in product(COLOURS, SLEEVES, NECKS)
}
START, TARGET = "red-long-crew", "blue-short-scoop"
GOAL = Goal("g", START, (TARGET,), {name: f"with {value}" for name, value in ITEMS[TARGET].items()}, ITEMS[TARGET])


def obeying(mistakes: int = 0) -> tuple[Callable[[str, str], list[str]], list[tuple[str, str]]]:
    """Returns a search that does what each caption says and keeps the rest, and its calls.

    Its first answers, as many as `mistakes`, are the reference's neighbour of another colour instead.
    """
    calls: list[tuple[str, str]] = []

    def search(reference: str, caption: str) -> list[str]:
        calls.append((reference, caption))
        wanted = dict(ITEMS[reference])
        for name, values in (("colour", COLOURS), ("sleeve", SLEEVES), ("neck", NECKS)):
            wanted[name] = next((value for value in values if value in caption), wanted[name])
        if len(calls) <= mistakes:
            wanted = {**ITEMS[reference], "colour": "green"}
        order = sorted(ITEMS, key=lambda name: sum(ITEMS[name][key] != value for key, value in wanted.items()))
        return [name for name in order if name != reference]

    return search, calls


def test_replacing_the_reference_reaches_the_target_in_one_round_per_attribute() -> None:
    search, calls = obeying()
    found = converse(GOAL, search, ITEMS, "replace", ks=(1, 3))
    assert calls == [
        ("red-long-crew", "with blue"),
        ("blue-long-crew", "with short"),
        ("blue-short-crew", "with scoop"),
    ]
    assert [each.answer for each in found.rounds] == ["blue-long-crew", "blue-short-crew", TARGET]
    assert found.found[1] == 3 and found.found[3] is not None and found.found[3] <= 3


def test_joining_keeps_the_reference_and_adds_captions_as_the_service_does() -> None:
    search, calls = obeying()
    found = converse(GOAL, search, ITEMS, "join", ks=(1,))
    assert calls == [
        (START, "with blue"),
        (START, "With blue and with short"),
        (START, "With blue and with short and with scoop"),
    ]
    assert found.found == {1: 3}


@pytest.mark.parametrize("rule", ["join", "replace"])
def test_at_most_so_many_rounds(rule: Rule) -> None:
    search, calls = obeying(mistakes=99)
    found = converse(GOAL, search, ITEMS, rule, ks=(1,), most=4)
    assert len(calls) == len(found.rounds) == 4 and found.found == {1: None}
    assert summarize([found], most=4) == {"found@1": 0.0, "rounds@1": 5.0}


def test_the_user_names_what_they_have_not_named_and_then_insists() -> None:
    green = ITEMS["green-long-crew"]
    assert next_wrong(GOAL, green, []) == "colour"
    assert next_wrong(GOAL, green, ["colour"]) == "sleeve"
    assert next_wrong(GOAL, green, ["colour", "sleeve", "neck"]) == "colour"
    assert next_wrong(GOAL, green, ["colour", "sleeve", "neck", "colour"]) == "sleeve"
    with pytest.raises(ValueError, match="g: an answer has all attributes"):
        next_wrong(GOAL, ITEMS[TARGET], [])


def test_a_target_among_the_first_k_is_found_although_the_user_goes_on() -> None:
    answers = iter([["green-long-crew", TARGET], [TARGET]])
    found = converse(GOAL, lambda *_: next(answers), ITEMS, "join", ks=(1, 2))
    assert found.found == {1: 2, 2: 1} and len(found.rounds) == 2


def test_any_item_that_the_user_accepts_ends_the_search() -> None:
    goal = Goal("g", START, (TARGET, "twin"), GOAL.say, GOAL.wanted)
    items = {**ITEMS, "twin": ITEMS[TARGET]}
    assert converse(goal, lambda *_: ["twin"], items, "join").found == {1: 1, 10: 1}


def test_a_search_without_answers_is_an_error() -> None:
    with pytest.raises(ValueError, match="g: a search found nothing for red-long-crew and 'with blue'"):
        converse(GOAL, lambda *_: [], ITEMS, "join")


def test_the_summary_is_a_mean_over_goals() -> None:
    search, _ = obeying()
    good, bad = converse(GOAL, search, ITEMS, "join", ks=(1,)), converse(GOAL, obeying(9)[0], ITEMS, "join", ks=(1,))
    assert summarize([good, bad]) == {"found@1": 50.0, "rounds@1": (3 + 6) / 2}


@pytest.mark.parametrize("rule", ["join", "replace"])
def test_goals_side_by_side_are_the_same_conversations(rule: Rule) -> None:
    search, _ = obeying()
    goals = [
        Goal(f"{start} {target}", start, (target,), {k: f"with {v}" for k, v in ITEMS[target].items()}, ITEMS[target])
        for start in ITEMS
        for target in ITEMS
        if start != target
    ]
    calls: list[int] = []

    def search_many(references: Sequence[str], captions: Sequence[str]) -> list[list[str]]:
        calls.append(len(references))
        return [search(*query) for query in zip(references, captions, strict=True)]

    together = converse_all(goals, search_many, ITEMS, rule)
    assert together == [converse(goal, search, ITEMS, rule) for goal in goals]
    assert calls[0] == len(goals) and len(calls) == 3 and calls == sorted(calls, reverse=True)
