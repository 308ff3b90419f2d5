"""The attribute values that stage 0 learns: which become classes, their texts, and the label of each image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cirray.data.attribute_classes import (
    MAX_CLASSES,
    MAX_CLASSES_PER_ATTRIBUTE,
    AttributeClasses,
    attribute_classes,
)
from cirray.data.attribute_values import read_items


def classes_of(folder: Path, attributes: list[dict[str, Any]], ids: list[str] | None = None) -> AttributeClasses | None:
    lines = [json.dumps({"id": f"i{n}", "image": f"{n}.png", **values}) + "\n" for n, values in enumerate(attributes)]
    (folder / "catalog.jsonl").write_text("".join(lines))
    return attribute_classes(read_items(str(folder)), ids or [f"i{n}" for n in range(len(attributes))])


def test_texts_and_booleans_become_classes(tmp_path: Path) -> None:
    items = [
        {"colour": "red", "has_logo": True},
        {"colour": "red", "has_logo": False},
        {"colour": "blue", "has_logo": False},
        {"colour": "blue"},
        {"colour": "red", "has_logo": True},
    ]
    found = classes_of(tmp_path, items, ["i2", "i3", "elsewhere", "i0"])
    assert found is not None
    assert found.names == ("colour", "has_logo")
    assert found.texts == ("colour red", "colour blue", "without logo", "with logo")
    assert found.sizes == (2, 2)
    assert found.labels == ((1, 0), (1, -1), (-1, -1), (0, 1))


def test_rare_values_numbers_and_internal_attributes_are_no_classes(tmp_path: Path) -> None:
    items = [
        {"colour": ["red", "blue"][n % 2], "fit": ["slim", "loose"][n % 2], "price": 10 + n % 3, "split": "ab"[n % 2]}
        for n in range(20)
    ]
    items[7]["colour"] = "teal"
    found = classes_of(tmp_path, items)
    assert found is not None
    assert found.texts == ("colour red", "colour blue", "fit loose", "fit slim")
    assert found.labels[7] == (-1, 0)


def test_an_item_with_several_values_has_no_class(tmp_path: Path) -> None:
    items = [{"tags": [["wool"], ["silk"], ["wool", "silk"]][n % 3], "fit": "ab"[n % 2]} for n in range(12)]
    found = classes_of(tmp_path, items)
    assert found is not None
    column = found.names.index("tags")
    assert [labels[column] for labels in found.labels[:3]] == [1, 0, -1]


def test_the_number_of_classes_is_limited(tmp_path: Path) -> None:
    names = [f"trait{n}" for n in range(6)]
    # 80 values each: more than an attribute may have; six attributes: more than may be together.
    items = [{name: f"v{(n * (1 + column)) % 80:02d}" for column, name in enumerate(names)} for n in range(480)]
    found = classes_of(tmp_path, items)
    assert found is not None
    assert max(found.sizes) == MAX_CLASSES_PER_ATTRIBUTE
    assert len(found.texts) == sum(found.sizes) <= MAX_CLASSES
    for position, size in enumerate(found.sizes):
        assert max(labels[position] for labels in found.labels) == size - 1


def test_data_without_attributes(tmp_path: Path) -> None:
    assert attribute_classes(read_items(str(tmp_path)), ["i0"]) is None
    assert classes_of(tmp_path, [{"title": "a"}, {"title": "b"}]) is None
