"""Search in several rounds with a simulated user.

The user looks for a hidden target. In each round they name one attribute that is wrong in the first answer, and the
search is refined, as in dialog-based retrieval (Guo et al., "Dialog-based Interactive Image Retrieval", NeurIPS 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, get_args

from cirray.data.captions import query_caption
from cirray.data.exam import Goal

Search = Callable[[str, str], Sequence[str]]
"""(reference id, caption) -> ranked item ids, best first."""

Rule = Literal["join", "replace"]
"""How an answer is refined: "join" adds the caption to those before, with the same reference, as the service does;
"replace" takes the first answer as the reference of the new caption alone."""

RULES: tuple[Rule, ...] = get_args(Rule)
KS = (1, 10)
MOST_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Round:
    """One search of a conversation, and its first answer."""

    reference: str
    caption: str
    answer: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """The rounds of one goal.

    Attributes:
        goal: the goal.
        rounds: the rounds, in order.
        found: K -> number of the first round, from 1, with an accepted item among the first K; None if there is none.
    """

    goal: Goal
    rounds: tuple[Round, ...]
    found: Mapping[int, int | None]


def converse(
    goal: Goal,
    search: Search,
    items: Mapping[str, Mapping[str, object]],
    rule: Rule,
    ks: Sequence[int] = KS,
    most: int = MOST_ROUNDS,
) -> Conversation:
    """Searches until an accepted item is the first answer, at most `most` times.

    Args:
        goal: start and target.
        search: the system under test. It may leave the reference out of its answers.
        items: id -> attribute -> value.
        rule: how an answer is refined.
        ks: the K of `found`.
        most: maximum number of rounds.

    Raises:
        ValueError: a search has no answers.
    """
    reference = answer = goal.start
    named: list[str] = []
    rounds: list[Round] = []
    found: dict[int, int | None] = dict.fromkeys(ks)
    while len(rounds) < most and answer not in goal.positives:
        named.append(next_wrong(goal, items[answer], named))
        if rule == "replace":
            reference, caption = answer, goal.say[named[-1]]
        else:
            caption = query_caption(tuple(goal.say[name] for name in named))
        ranked = search(reference, caption)
        if not ranked:
            raise ValueError(f"{goal.name}: a search found nothing for {reference} and {caption!r}")
        answer = ranked[0]
        rounds.append(Round(reference, caption, answer))
        for k in ks:
            if found[k] is None and any(item in goal.positives for item in ranked[:k]):
                found[k] = len(rounds)
    return Conversation(goal, tuple(rounds), found)


def next_wrong(goal: Goal, answer: Mapping[str, object], named: Sequence[str]) -> str:
    """Returns the attribute that the user names: the first wrong one that was not named yet, or else the one that was
    named longest ago.

    Raises:
        ValueError: no attribute is wrong.
    """
    wrong = [name for name in goal.say if answer.get(name) != goal.wanted.get(name)]
    if not wrong:
        raise ValueError(f"{goal.name}: an answer has all attributes of the target, but is not accepted")
    last = {name: position for position, name in enumerate(named)}
    return min(wrong, key=lambda name: last.get(name, -1))


def summarize(conversations: Sequence[Conversation], most: int = MOST_ROUNDS) -> dict[str, float]:
    """Returns for each K found@K, the percentage of goals that were found, and rounds@K, the mean number of rounds.

    A goal that was not found counts as `most` + 1 rounds.

    Args:
        conversations: at least one, all with the same K.
        most: maximum number of rounds of each.
    """
    measures: dict[str, float] = {}
    for k in conversations[0].found:
        rounds = [conversation.found[k] for conversation in conversations]
        measures[f"found@{k}"] = 100.0 * fmean(number is not None for number in rounds)
        measures[f"rounds@{k}"] = fmean(most + 1 if number is None else number for number in rounds)
    return measures
