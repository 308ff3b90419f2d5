"""The wordings of captions and the word lists that go with them, from templates.yaml."""

from __future__ import annotations

from functools import cache
from importlib import resources

import yaml
from pydantic import BaseModel, ConfigDict


class TitleTemplates(BaseModel):
    """Captions that are the target's title.

    Attributes:
        share: share of the train captions.
        max_words: titles with more words are not used.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float
    max_words: int
    wordings: list[str]


class Templates(BaseModel):
    """The content of templates.yaml, which describes each field. All texts are English."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: list[str]
    words: list[str]
    added: list[str]
    removed: list[str]
    present: list[str]
    absent: list[str]
    higher: list[str]
    lower: list[str]
    more_expensive: list[str]
    cheaper: list[str]
    joined: list[str]
    title: TitleTemplates
    price_words: frozenset[str]
    nothing: frozenset[str]
    function_words: frozenset[str]
    negations: frozenset[str]


@cache
def read_templates() -> Templates:
    """Returns the templates."""
    text = resources.files("cirray").joinpath("data", "made_triplets", "templates.yaml").read_text("utf-8")
    return Templates.model_validate(yaml.safe_load(text))
