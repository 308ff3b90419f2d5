"""Pairs by titles: against slow oracles, balanced over changes, and fast for many titles."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections import Counter
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from cirray.data.made_triplets.draw import draw_pairs
from cirray.data.made_triplets.title_pairs import MOST_PHRASES, TitlePairs
from cirray.data.made_triplets.title_words import split_title, useful_phrases
from tests.support.made_items import all_differ, item

Change = tuple[str, str]

TITLES = st.lists(
    st.lists(st.sampled_from(["red", "blue", "big", "hat", "with", "no", ", "]), max_size=5).map(" ".join),
    min_size=2,
    max_size=12,
)


# Titles that make their words and phrases useful, so that most pairs of SIMILAR depend on the titles alone.
FREQUENT = [
    f"{start} {phrase}"
    for phrase in ("red", "blue", "hat", "red blue", "blue red", "red hat", "hat blue", "with red", "red with blue")
    for start in ("x", "y", "z")
]
SIMILAR = st.lists(
    st.lists(st.sampled_from(["red", "blue", "hat", "with", ", "]), min_size=1, max_size=4),
    min_size=4,
    max_size=8,
    unique_by=lambda title: tuple(word for word in title if word != ", "),  # random draws find all pairs then
).map(lambda titles: [*map(" ".join, titles), *FREQUENT])


def found_changes(titles: list[str]) -> dict[tuple[str, str], Change]:
    """(reference, target) -> (old, new) of all pairs that are drawn."""
    entries = [item(n, title) for n, title in enumerate(titles)]
    pairs = draw_pairs([(TitlePairs(entries, useful_phrases(titles), 0), 1.0)], 1000, 0, all_differ).pairs
    return {(pair.reference.id, pair.target.id): (str(pair.changes[0].old), str(pair.changes[0].new)) for pair in pairs}


def parts_of(title: str) -> list[list[str]]:
    return [part.split() for part in title.split(",")]


def all_phrases(title: str) -> set[tuple[str, ...]]:
    return {
        tuple(part[start:end])
        for part in parts_of(title)
        for start in range(len(part))
        for end in range(start + 1, min(start + 3, len(part)) + 1)
    }


def useful_by_oracle(titles: list[str]) -> dict[tuple[str, ...], str]:
    counts = Counter(phrase for title in set(titles) for phrase in all_phrases(title))
    texts = {
        phrase: re.sub(r"^(with )+|( ?with)+$", "", " ".join(phrase)).strip()
        for phrase, count in counts.items()
        if count >= 3 and "no" not in phrase
    }
    return {phrase: text for phrase, text in texts.items() if text}


def words_of(title: str) -> list[str]:
    return title.replace(",", " ").split()


def phrase_at(title: str, start: int, end: int) -> tuple[str, ...] | None:
    """The words from start to end, at most three; None if there is a comma between them."""
    lengths = [len(part) for part in parts_of(title)]
    bounds = {sum(lengths[:n]) for n in range(len(lengths))}
    inside = set(range(start + 1, end))
    return None if bounds & inside or not 0 <= end - start <= 3 else tuple(words_of(title)[start:end])


def change_by_oracle(one: str, other: str, titles: list[str], useful: dict[tuple[str, ...], str]) -> Change | None:
    """Strips the longest common beginning, then the longest common end."""
    first, second = words_of(one), words_of(other)
    limit = min(len(first), len(second))
    start = next((n for n in range(limit) if first[n] != second[n]), limit)
    limit -= start
    end = next((n for n in range(limit) if first[-1 - n] != second[-1 - n]), limit)
    old, new = phrase_at(one, start, len(first) - end), phrase_at(other, start, len(second) - end)
    if old is None or new is None or old == new or not start + end:
        return None
    if (old and old not in useful) or (new and new not in useful):
        return None
    if old and new and max(len(old), len(new)) > start + end:
        return None
    ends = first[:start], first[len(first) - end :]
    here = [words_of(title) for title in titles]
    phrases = {
        phrase_at(title, start, len(words) - end)
        for title, words in zip(titles, here, strict=True)
        if len(words) >= start + end and (words[:start], words[len(words) - end :]) == ends
    }
    texts = useful.get(old, ""), useful.get(new, "")
    return texts if texts[0] != texts[1] and len(phrases - {None}) <= MOST_PHRASES else None


@settings(deadline=None, max_examples=300)
@given(TITLES)
def test_useful_phrases_are_those_that_an_oracle_counts(titles: list[str]) -> None:
    assert useful_phrases(titles) == useful_by_oracle(titles)


@settings(deadline=None, max_examples=50, derandomize=True)  # random draws: see SIMILAR
@given(SIMILAR)
def test_pairs_are_those_that_an_oracle_finds(titles: list[str]) -> None:
    useful = useful_by_oracle(titles)
    changes = {
        (f"i{n}", f"i{m}"): change_by_oracle(titles[n], titles[m], titles, useful)
        for n, m in permutations(range(len(titles)), 2)
    }
    assert found_changes(titles) == {ids: change for ids, change in changes.items() if change}


EMOJI = [
    f"{who} {what}{tone}"
    for who in ("woman", "man")
    for what in ("running", "cooking")
    for tone in ("", ": dark skin tone", ": light skin tone")
]


def test_words_are_replaced_added_and_removed() -> None:
    found = found_changes(EMOJI)
    by_title = {(EMOJI[int(one[1:])], EMOJI[int(other[1:])]): change for (one, other), change in found.items()}
    assert by_title["woman running: dark skin tone", "woman running: light skin tone"] == ("dark", "light")
    assert by_title["woman running", "woman running: light skin tone"] == ("", "light skin tone")
    assert by_title["man cooking: dark skin tone", "man cooking"] == ("dark skin tone", "")
    assert by_title["man cooking", "woman cooking"] == ("man", "woman")
    assert ("woman running", "man cooking") not in by_title, "nothing is common"


def test_words_are_not_replaced_by_more_words_than_are_common() -> None:
    titles = [
        f"{look} {kind}" for look in ("ball", "a", "b", "c") for kind in ("", "red hat", "blue coat", "cup", "mug")
    ]
    changes = set(found_changes(titles).values())
    assert ("cup", "mug") in changes and ("", "red hat") in changes
    assert ("red hat", "blue coat") not in changes and ("cup", "red hat") not in changes


def test_titles_are_read_as_words_without_case_and_punctuation() -> None:
    words = split_title("Women's V-Neck (3.5 mm) - Red")
    assert words.words == ("women's", "v-neck", "3.5", "mm", "red") and words.parts == (0, 0, 1, 1, 3)


def test_codes_and_names_that_occur_once_are_ignored() -> None:
    assert not found_changes([f"shirt {1000 + n} red" for n in range(50)])
    assert not found_changes([f"flag of {name}" for name in ("Ghana", "Chile", "Nepal", "Malta")])


def test_a_place_that_many_phrases_complete_names_other_products() -> None:
    def titles(count: int) -> list[str]:
        nouns = [f"noun{chr(97 + n)}" for n in range(count)]
        return [f"{noun} {colour}" for noun in nouns for colour in ("red", "blue", "green")]

    nouns = {change for change in found_changes(titles(MOST_PHRASES)).values() if "nouna" in change}
    assert nouns
    many = set(found_changes(titles(MOST_PHRASES + 1)).values())
    assert many and all(change[0] in ("red", "blue", "green") for change in many)


def test_rare_changes_are_drawn_as_often_as_frequent_ones() -> None:
    titles = [f"coat n{n:03} {colour}" for n in range(300) for colour in ("red", "blue")]
    titles += [f"coat n{n:03} red {look}" for n in range(3) for look in ("dotted", "striped")]
    entries = [item(n, title) for n, title in enumerate(titles)]
    source, chance = TitlePairs(entries, useful_phrases(titles), 0), random.Random(0)
    changes = Counter((change.old, change.new) for _ in range(4000) for change in source.draw(chance).changes)
    assert changes["dotted", "striped"] / changes["red", "blue"] > 0.8, changes


def test_items_with_equal_titles_are_no_pair_and_all_are_drawn() -> None:
    found = found_changes(["red hat", "red hat", "blue hat", "red coat", "red bag", "blue coat", "blue bag"])
    assert ("i0", "i1") not in found and found["i0", "i2"] == found["i1", "i2"] == ("red", "blue")


def test_many_titles_with_a_common_word_are_not_compared_pair_by_pair() -> None:
    chance = random.Random(0)
    words = [f"w{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(400)]
    titles = ["dress " + " ".join(chance.choices(words, k=3)) for _ in range(20_000)]
    titles += [f"coat {word} {colour}" for word in words for colour in ("red", "blue")]
    entries = [item(n, title) for n, title in enumerate(titles)]
    source = TitlePairs(entries, useful_phrases(titles), 0)  # pair by pair, this takes an hour
    changes = {(change.old, change.new) for _ in range(5000) for change in source.draw(chance).changes}
    assert {("red", "blue"), ("blue", "red")} <= changes


def test_the_draw_is_the_same_in_every_process() -> None:
    code = (
        "import random; from tests.support.made_items import item; from tests.test_made_title_pairs import EMOJI;"
        "from cirray.data.made_triplets.title_pairs import TitlePairs;"
        "from cirray.data.made_triplets.title_words import useful_phrases;"
        "source = TitlePairs([item(n, t) for n, t in enumerate(EMOJI)], useful_phrases(EMOJI), 0);"
        "chance = random.Random(0); print([source.draw(chance).reference.id for _ in range(50)])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1
