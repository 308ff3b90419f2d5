"""Filter syntax: accepted and rejected filters, and lossless round trips."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cirray.data.filters import MAX_CONDITIONS, MAX_NUMBER, MAX_TEXT, MAX_VALUES, Bounds, Filter


def parse(content: Any) -> Filter:
    return Filter.model_validate(content)


def typed(value: Any) -> Any:
    """Makes 1, 1.0 and True differ."""
    return [typed(one) for one in value] if isinstance(value, list) else (type(value), value)


@pytest.mark.parametrize(
    "condition",
    ["dress", "", "1", "true", "日本", 0, 1, -3, MAX_NUMBER, -MAX_NUMBER, 1.0, 2.5, -0.0, 1e300, True, False],
)
def test_a_value_keeps_its_type(condition: Any) -> None:
    for given_condition in (condition, [condition]):
        found = parse({"name": given_condition}).root["name"]
        assert typed(found) == typed(given_condition)
        (same,) = Filter.model_validate_json(json.dumps({"name": given_condition})).root.values()
        assert typed(same) == typed(given_condition)


def test_any_of_may_be_mixed() -> None:
    mixed = ["1", 1, 1.0, True, "true", False, 0]
    assert typed(parse({"name": mixed}).root["name"]) == typed(mixed)


def test_ranges_and_exclusions() -> None:
    found = parse({"a": {"gte": 20, "lt": 50.5}, "b": {"not": ["x", 1]}, "c": {"gt": 1, "lte": 2, "not": False}}).root
    assert found["a"] == Bounds(gte=20, lt=50.5)
    assert found["b"] == Bounds(excluded=["x", 1])
    assert found["c"] == Bounds(gt=1, lte=2, excluded=False)
    assert [bounds.has_range for bounds in found.values() if isinstance(bounds, Bounds)] == [True, False, True]
    assert Bounds(gte=0).has_range
    assert Bounds.model_validate({"gte": None, "lt": 0}) == Bounds(lt=0)


def test_no_conditions_at_all() -> None:
    assert parse({}).root == {}
    assert Filter() == parse({})


@pytest.mark.parametrize(
    "condition",
    [
        None,
        [],
        {},
        [[]],
        [["x"]],
        [None],
        [{"gte": 1}],
        {"gte": None},
        {"not": None},
        {"not": []},
        {"not": {"gte": 1}},
        {"not": [["x"]]},
        {"near": 1},
        {"eq": "x"},
        {"gte": 1, "near": 2},
        {"GTE": 1},
        {"$gte": 1},
        {"gte": "1"},
        {"gte": True},
        {"gte": [1]},
        {"lt": "2020-01-01"},
        math.nan,
        math.inf,
        -math.inf,
        [math.nan],
        {"lt": math.nan},
        {"not": math.inf},
        1.1e300,
        MAX_NUMBER + 1,
        -MAX_NUMBER - 1,
        2**70,
        [MAX_NUMBER + 1],
        {"gte": MAX_NUMBER + 1},
        {"not": 10**400},
        "x" * (MAX_TEXT + 1),
        ["x" * (MAX_TEXT + 1)],
        "\ud800",
        b"x",
        [0] * (MAX_VALUES + 1),
        {"not": ["x"] * (MAX_VALUES + 1)},
        object(),
    ],
)
def test_what_is_refused(condition: Any) -> None:
    with pytest.raises(ValidationError):
        parse({"name": condition})


def test_the_limits_themselves_are_taken() -> None:
    parse({"name": "x" * MAX_TEXT})
    parse({"name": ["x"] * MAX_VALUES})
    parse({f"name{number}": 1 for number in range(MAX_CONDITIONS)})
    with pytest.raises(ValidationError, match=f"at most {MAX_CONDITIONS}"):
        parse({f"name{number}": 1 for number in range(MAX_CONDITIONS + 1)})


def test_the_error_names_the_accepted_values() -> None:
    with pytest.raises(ValidationError, match="give at least one of gt, gte, lt, lte, not"):
        parse({"name": {}})
    with pytest.raises(ValidationError, match=rf"integers must be from -{MAX_NUMBER} to {MAX_NUMBER}"):
        parse({"price": {"gte": 2**60}})
    with pytest.raises(ValidationError, match=r"colour.*near"):
        parse({"colour": {"near": 1}})


@pytest.mark.parametrize("name", ["a", "_", "A", "colour", "neck-line", "size_2", "x" * 64])
def test_names_that_are_taken(name: str) -> None:
    assert list(parse({name: 1}).root) == [name]


@pytest.mark.parametrize(
    "name",
    ["", "1a", "-a", "a.b", "a[0]", "a[]", "a b", " a", "a ", "a\n", "ä", "a/b", 'a"', "a$", "*", "x" * 65, "id\0"],
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        parse({name: 1})


@pytest.mark.parametrize("content", [None, [], "x", 1, [{"a": 1}], {1: 2}])
def test_what_is_no_filter(content: Any) -> None:
    with pytest.raises(ValidationError):
        parse(content)


def test_nan_in_json_is_refused() -> None:
    for content in ('{"a": NaN}', '{"a": {"lt": Infinity}}', '{"a": 1e999}'):
        with pytest.raises(ValidationError):
            Filter.model_validate_json(content)


SCALARS = st.one_of(
    st.booleans(),
    st.integers(-MAX_NUMBER, MAX_NUMBER),
    st.floats(-1e300, 1e300),
    st.text(st.characters(codec="utf-8"), max_size=20),
)
NUMBERS = st.one_of(st.integers(-MAX_NUMBER, MAX_NUMBER), st.floats(-1e300, 1e300))
VALUES = SCALARS | st.lists(SCALARS, min_size=1, max_size=5)
OPERATORS = st.fixed_dictionaries(
    {}, optional={"gt": NUMBERS, "gte": NUMBERS, "lt": NUMBERS, "lte": NUMBERS, "not": VALUES}
).filter(bool)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,20}", fullmatch=True)
CONTENTS = st.dictionaries(NAMES, VALUES | OPERATORS, max_size=4)


@given(CONTENTS)
def test_a_filter_survives_json(content: dict[str, Any]) -> None:
    filter = parse(content)
    assert Filter.model_validate_json(json.dumps(content)) == filter
    for by_alias in (False, True):
        written = filter.model_dump_json(by_alias=by_alias, exclude_none=by_alias)
        again = Filter.model_validate_json(written)
        assert again == filter
        assert again.model_dump_json() == filter.model_dump_json()
    assert json.loads(filter.model_dump_json(by_alias=True, exclude_unset=True)) == content


@given(CONTENTS)
def test_what_is_parsed_is_what_was_written(content: dict[str, Any]) -> None:
    for name, condition in parse(content).root.items():
        written = content[name]
        if isinstance(condition, Bounds):
            operators = {"gt": condition.gt, "gte": condition.gte, "lt": condition.lt, "lte": condition.lte}
            operators["not"] = condition.excluded
            assert {key: typed(value) for key, value in operators.items() if value is not None} == {
                key: typed(value) for key, value in written.items()
            }
        else:
            assert typed(condition) == typed(written)
