"""The words of titles, and the phrases whose change says something."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cirray.data.made_triplets.templates import Templates, read_templates

Phrase = tuple[str, ...]

# Maximum number of words of a phrase.
MAX_WORDS = 3
# A phrase is useful if at least so many different titles contain it, and this share of them: a name or a code that
# occurs once or twice says nothing that a model could learn.
MIN_TITLES = 3
MIN_SHARE = 0.001
# Letters and digits, also joined as in "v-neck", "women's" and "3.5".
_WORD = re.compile(r"\w+(?:[-'’.]\w+)*")
# No phrase goes across these.
_BREAK = re.compile(r"[,;:()\[\]{}|/•–—]|\s-\s")


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a title, in lower case, and for each one the number of the part of the title that it is in."""

    words: Phrase
    parts: tuple[int, ...]

    def phrases(self) -> Iterable[tuple[int, Phrase]]:
        """Yields (start, phrase) for all phrases that no punctuation divides."""
        for start, part in enumerate(self.parts):
            for end in range(start + 1, min(start + MAX_WORDS, len(self.words)) + 1):
                if self.parts[end - 1] != part:
                    break
                yield start, self.words[start:end]


def split_title(title: str) -> Words:
    """Splits a title into words; commas, colons, brackets, slashes and dashes divide it into parts."""
    parts = enumerate(_BREAK.split(title.lower()))
    pairs = [(word, number) for number, part in parts for word in _WORD.findall(part)]
    return Words(tuple(word for word, _ in pairs), tuple(number for _, number in pairs))


def useful_phrases(titles: Iterable[str]) -> Mapping[Phrase, str]:
    """Returns the phrases that occur in enough different titles (MIN_TITLES, MIN_SHARE) -> how captions say them.

    Captions omit function words at the ends of a phrase, such as "with". A phrase of function words alone, or with a
    negation ("without pockets"), is not useful: a caption cannot add or remove it.
    """
    split = [split_title(title) for title in dict.fromkeys(titles) if title]
    least = max(MIN_TITLES, MIN_SHARE * len(split))
    words = Counter(word for title in split for word in set(title.words))
    counts: Counter[Phrase] = Counter()
    for title in split:
        # a phrase is at most as frequent as its rarest word: the others need no counting, which bounds memory
        counts.update({phrase for _, phrase in title.phrases() if all(words[word] >= least for word in phrase)})
    templates = read_templates()
    texts = {phrase: _as_text(phrase, templates) for phrase, count in counts.items() if count >= least}
    return {phrase: text for phrase, text in texts.items() if text}


def _as_text(phrase: Phrase, templates: Templates) -> str:
    if any(word in templates.negations for word in phrase):
        return ""
    content = [place for place, word in enumerate(phrase) if word not in templates.function_words]
    return " ".join(phrase[content[0] : content[-1] + 1]) if content else ""
