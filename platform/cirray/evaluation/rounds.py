"""Search in several rounds with a simulated user.

The user looks for a hidden target. In each round they name one attribute that is wrong in the first answer, and the
search is refined, as in dialog-based retrieval (Guo et al., "Dialog-based Interactive Image Retrieval", NeurIPS 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal, get_args

from cirray.data.captions import query_caption
from cirray.data.exam import Goal

Search = Callable[[str, str], Sequence[str]]
"""(reference id, caption) -> ranked item ids, best first."""

BatchSearch = Callable[[Sequence[str], Sequence[str]], Sequence[Sequence[str]]]
"""The same for many references and captions."""

Items = Mapping[str, Mapping[str, object]]

Rule = Literal["join", "replace"]
"""How an answer is refined: "join" adds the caption to those before, with the same reference, as the service does;
"replace" takes the first answer as the reference of the new caption alone."""

RULES: tuple[Rule, ...] = get_args(Rule)
KS = (1, 10)
MOST_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Round:
    """One search of a conversation.

    Attributes:
        named: the attribute that the user named.
        reference: id of the reference.
        caption: the caption.
        answer: id of the first answer; "" before there is one.
    """

    named: str
    reference: str
    caption: str
    answer: str = ""


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

    @property
    def answer(self) -> str:
        """The last first answer; the start before there is one."""
        return self.rounds[-1].answer if self.rounds else self.goal.start


def converse(
    goal: Goal, search: Search, items: Items, rule: Rule, ks: Sequence[int] = KS, most: int = MOST_ROUNDS
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

    def search_each(references: Sequence[str], captions: Sequence[str]) -> list[Sequence[str]]:
        return [search(reference, caption) for reference, caption in zip(references, captions, strict=True)]

    return converse_all([goal], search_each, items, rule, ks, most)[0]


def converse_all(
    goals: Sequence[Goal],
    search: BatchSearch,
    items: Items,
    rule: Rule,
    ks: Sequence[int] = KS,
    most: int = MOST_ROUNDS,
) -> list[Conversation]:
    """Runs the conversations of many goals side by side: each round of all of them is one call of `search`.

    For the arguments, see `converse`.
    """
    conversations = [Conversation(goal, (), dict.fromkeys(ks)) for goal in goals]
    for _ in range(most):
        open_rows = [row for row, each in enumerate(conversations) if each.answer not in each.goal.positives]
        asked = [_refined(conversations[row], items, rule) for row in open_rows]
        if not asked:
            break
        answers = search([each.reference for each in asked], [each.caption for each in asked])
        for row, said, ranked in zip(open_rows, asked, answers, strict=True):
            conversations[row] = _answered(conversations[row], said, ranked)
    return conversations


def _refined(conversation: Conversation, items: Items, rule: Rule) -> Round:
    """Returns the next round, not answered yet."""
    goal = conversation.goal
    named = [each.named for each in conversation.rounds]
    named.append(next_wrong(goal, items[conversation.answer], named))
    if rule == "replace":
        return Round(named[-1], conversation.answer, goal.say[named[-1]])
    return Round(named[-1], goal.start, query_caption(tuple(goal.say[name] for name in named)))


def _answered(conversation: Conversation, said: Round, ranked: Sequence[str]) -> Conversation:
    goal, number = conversation.goal, len(conversation.rounds) + 1
    if not ranked:
        raise ValueError(f"{goal.name}: a search found nothing for {said.reference} and {said.caption!r}")
    found = {
        k: number if before is None and any(item in goal.positives for item in ranked[:k]) else before
        for k, before in conversation.found.items()
    }
    return Conversation(goal, (*conversation.rounds, replace(said, answer=ranked[0])), found)


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
