"""Fragments of titles: adjacent words of one part, and which titles have them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cirray.data.title_fragments import LONGEST, Title, matches

TITLES = st.text(alphabet=st.sampled_from("ab c,:"), min_size=1, max_size=30)


def test_a_title_is_divided_at_punctuation() -> None:
    title = Title.of("Woman astronaut: medium skin tone, red hair")
    assert title.parts == (("woman", "astronaut"), ("medium", "skin", "tone"), ("red", "hair"))
    assert title.fragment(0.0) == ("woman",)
    assert title.fragment(0.999) == ("red", "hair")


def test_every_fragment_of_every_part_is_drawn() -> None:
    title = Title.of("a b: c d e f g")
    drawn = {title.fragment(number / 997) for number in range(997)}
    words = ["c", "d", "e", "f", "g"]
    expected = {tuple(words[i:j]) for i in range(5) for j in range(i + 1, 6) if j - i <= LONGEST}
    assert drawn == expected | {("a",), ("b",), ("a", "b")}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(TITLES, min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
def test_titles_match_the_fragments_whose_words_they_have(texts: list[str], draw: float) -> None:
    titles = [Title.of(text) for text in texts]
    fragments = [title.fragment(draw) for title in titles]
    found = matches(titles, fragments)
    for row, text in enumerate(texts):
        words = text.lower().replace(",", " ").replace(":", " ").split() or [text.lower()]
        for column, fragment in enumerate(fragments):
            assert bool(found[row, column]) == all(word in words for word in fragment), (text, fragment)
    assert all(found[row, row] for row in range(len(texts)))


def test_matches_of_nothing() -> None:
    assert matches([], [("a",)]).shape == (0, 1)
