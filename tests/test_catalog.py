from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from cirray.data.attributes import Attribute
from cirray.data.catalog import Entry, describe_attributes, read_catalog
from cirray.data.records import Problem
from cirray.errors import DataError
from tests.support.data_fixtures import write_lines


def write_csv(folder: Path, text: str) -> Path:
    path = folder / "catalog.csv"
    path.write_text(text, encoding="utf-8")
    return path


def write_parquet(folder: Path, **columns: pa.Array) -> Path:
    path = folder / "catalog.parquet"
    parquet.write_table(pa.table({"id": ["a", "b"], "image": ["a.png", "b.png"], **columns}), path)
    return path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def read(path: Path) -> tuple[list[Entry], list[Problem]]:
    catalog = read_catalog(path)
    return catalog.entries, catalog.problems


def attributes(path: Path) -> list[dict]:
    """Reads a catalog that must be without problems."""
    entries, problems = read(path)
    assert problems == []
    return [entry.attributes for entry in entries]


def problems_of(path: Path) -> list[str]:
    return [str(problem) for problem in read_catalog(path).problems]


def lines(folder: Path, *values: dict) -> Path:
    """Writes entries e1, e2, ... with these other keys."""
    numbered = enumerate(values, start=1)
    return write_lines(folder / "catalog.jsonl", [{"id": f"e{i}", "image": "x.png", **value} for i, value in numbered])


def test_json_lines_become_entries_with_everything_in_them(tmp_path):
    path = write_lines(
        tmp_path / "items.jsonl",
        [
            {"id": "a", "image": "pictures/a.png", "title": " Red dress ", "price": 12.5, "tags": ["x", "", "x", "y"]},
            {
                "id": 17,
                "image": "b.png",
                "title": None,
                "price": 3,
                "new": False,
                "tags": [],
                "colour": " ",
                "size": None,
            },
        ],
    )
    entries, problems = read(path)
    assert problems == []
    assert entries == [
        Entry("a", (tmp_path / "pictures/a.png",), "Red dress", {"price": 12.5, "tags": ["x", "y"]}, "items.jsonl:1"),
        Entry("17", (tmp_path / "b.png",), "", {"price": 3, "new": False}, "items.jsonl:2"),
    ]


def test_a_folder_holds_an_entry_for_each_picture_below_it(tmp_path):
    touch(tmp_path, "b.JPG", "dress/x/c.webp", "a.png", "notes.txt", ".hidden.png", ".git/d.png", "dress/a.png")
    entries, problems = read(tmp_path)
    assert problems == []
    assert [(entry.id, entry.attributes) for entry in entries] == [
        ("a", {}),
        ("b", {}),
        ("dress/a", {"folder": "dress"}),
        ("dress/x/c", {"folder": "dress"}),
    ]
    assert entries[3].images[0] == tmp_path / "dress/x/c.webp"
    assert entries[3].where == "dress/x/c.webp"


def test_pictures_that_only_differ_in_their_suffix_keep_it_in_the_id(tmp_path):
    touch(tmp_path, "a.jpg", "a.png", "a.jpg.png", "b.png")
    assert [entry.id for entry in read_catalog(tmp_path).entries] == ["a.jpg", "a.jpg.png", "a.png", "b"]


def test_links_in_a_folder_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path / "elsewhere", "a.png")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "shop")
    assert [entry.id for entry in read_catalog(tmp_path / "shop").entries] == ["linked/a"]


def test_a_file_name_that_is_not_utf8_is_a_problem_that_can_be_printed(tmp_path):
    touch(tmp_path, "a.png", "b\udcff.png")
    assert len(read_catalog(tmp_path).entries) == 1
    (problem,) = problems_of(tmp_path)
    assert problem.encode().startswith(rb"b\udcff.png: has text that is not Unicode")


def test_a_catalog_file_in_the_folder_is_read_instead(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    lines(tmp_path, {"colour": "red"})
    assert attributes(tmp_path) == [{"colour": "red"}]


def test_a_csv_column_has_the_type_that_all_its_cells_look_like(tmp_path):
    path = write_csv(
        tmp_path,
        "\ufeffid,image,title,stock,price,code,new,ean,note\n"
        "1,a.png,501,3,10,007,True,12345678901234567,4\n"
        "\n"
        '02,"b.png",,,2.5e1,12,false,12345678901234568,"two\nlines, four"\n'
        ",,,,,,,,\n",
    )
    entries, problems = read(path)
    assert problems == []
    assert [(entry.id, entry.title, entry.where) for entry in entries] == [
        ("1", "501", "catalog.csv:2"),
        ("02", "", "catalog.csv:4"),
    ]
    assert [entry.attributes for entry in entries] == [
        {"stock": 3, "price": 10.0, "code": "007", "new": True, "ean": "12345678901234567", "note": "4"},
        {"price": 25.0, "code": "12", "new": False, "ean": "12345678901234568", "note": "two\nlines, four"},
    ]
    assert type(entries[0].attributes["stock"]) is int


def test_a_csv_row_of_another_width_is_a_problem_with_its_line(tmp_path):
    path = write_csv(tmp_path, 'id,image,note\n"a",a.png,"two\nlines"\nb,b.png,one, two\nc,c.png\n')
    assert problems_of(path) == [
        "catalog.csv:4: has 4 cells, not 3: put cells with a comma in double quotes",
        "catalog.csv:5: has 2 cells, not 3: put cells with a comma in double quotes",
    ]


def test_parquet_columns_keep_their_types_and_times_become_text(tmp_path):
    path = write_parquet(
        tmp_path,
        price=pa.array([Decimal("1.50"), None]),
        stock=pa.array([3, 4], pa.int16()),
        weight=pa.array([0.5, 1.0], pa.float16()),
        colour=pa.array(["red", "blue"]).dictionary_encode(),
        tags=pa.array([["x", None], []], pa.list_(pa.string())),
        nothing=pa.nulls(2),
        day=pa.array([date(2026, 1, 2), None]),
        seen=pa.array([datetime(2026, 1, 2, 3, 4, tzinfo=UTC), None], pa.timestamp("ns", "UTC")),
    )
    assert attributes(path) == [
        {
            "price": 1.5,
            "stock": 3,
            "weight": 0.5,
            "colour": "red",
            "tags": ["x"],
            "day": "2026-01-02",
            "seen": "2026-01-02T03:04:00+00:00",
        },
        {"stock": 4, "weight": 1.0, "colour": "blue"},
    ]
    assert read_catalog(path).entries[1].where == "catalog.parquet row 1"


def test_nested_parquet_columns_are_flattened(tmp_path):
    path = write_parquet(tmp_path, size=pa.array([{"w": 1}, {"w": 2}]), prices=pa.array([[1], [2]]))
    assert attributes(path) == [{"size_w": 1, "prices": ["1"]}, {"size_w": 2, "prices": ["2"]}]


def test_integer_ids_of_parquet_become_text(tmp_path):
    assert [entry.id for entry in read_catalog(write_parquet(tmp_path, id=pa.array([7, 8]))).entries] == ["7", "8"]


def test_every_wrong_entry_is_one_problem_that_says_all(tmp_path):
    path = write_lines(
        tmp_path / "catalog.jsonl",
        [
            {"id": "a", "image": "a.png"},
            {"id": "a", "image": "../b.png"},
            {"id": True, "image": 4},
            {"id": "a\tb", "image": "c.png", "title": 5},
            {"id": "i" * 513, "image": "c.png"},
            '{"id": "d", "image": "d.png", "price": NaN, "ean": 9007199254740993, "size": {"w": 1}}',
            '{"id": "e", "image": "e.png", "colour": "\\ud800"}',
            "[1]",
        ],
    )
    entries, problems = read(path)
    assert [entry.id for entry in entries] == ["a", "d"]
    assert [str(problem) for problem in problems] == [
        "catalog.jsonl:2: image '../b.png' must be a path inside the catalog's folder, relative to it; "
        "id 'a' is there twice, first at catalog.jsonl:1",
        "catalog.jsonl:3: id must be a non-empty string, not true; image must be a non-empty string, not 4",
        "catalog.jsonl:4: id 'a\\tb' has control characters: remove them",
        "catalog.jsonl:5: id has 513 characters, more than 512",
        "catalog.jsonl:7: has text that is not Unicode (an unpaired surrogate): correct its encoding",
        "catalog.jsonl:8: must be a JSON object, not [1]",
    ]


def test_a_key_that_is_no_attribute_name_is_simplified(tmp_path):
    path = lines(tmp_path, {"Main Fabric": ""}, {"Main Fabric": "x", "colour": "red"}, {"Main Fabric": "y"})
    catalog = read_catalog(path)
    assert [entry.attributes for entry in catalog.entries] == [
        {},
        {"main_fabric": "x", "colour": "red"},
        {"main_fabric": "y"},
    ]
    assert catalog.notes == ["column 'Main Fabric' is the attribute main_fabric"]


def test_a_text_that_is_too_long_is_no_attribute(tmp_path):
    path = lines(tmp_path, {"text": "x" * 201, "tags": ["y" * 201, "z"]}, {"text": "x" * 200, "tags": ["y" * 201]})
    assert attributes(path) == [{"tags": ["z"]}, {"text": "x" * 200}]


def test_values_of_several_kinds_are_text(tmp_path):
    path = lines(tmp_path, {"size": "L", "new": 1}, {"size": 38}, {"size": ["M"], "new": True}, {"new": False})
    assert attributes(path) == [
        {"size": ["L"], "new": "1"},
        {"size": ["38"]},
        {"size": ["M"], "new": "true"},
        {"new": "false"},
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("items.txt", b"", r"ends in \.jsonl, .*, \.parquet"),
        ("items.jsonl", b"\n", "has no entry"),
        ("items.jsonl", b"\xff", "not UTF-8"),
        ("items.csv", b"", "is empty"),
        ("items.csv", b"id,image\n", "has no entry"),
        ("items.csv", b"key;foto_x\na;a.png\n", "has no column id and image"),
        ("items.csv", b"id,image,a,a\n", "several columns 'a'"),
        ("items.csv", b"id,image\na,\0\n", "not a text file"),
        ("items.csv", b'id,image\na,"a.png\n', "items.csv:2"),
        ("items.parquet", b"PAR1", "cannot be read as Parquet"),
        ("folder/notes.txt", b"", "no picture below it"),
    ],
)
def test_a_catalog_that_is_unusable_as_a_whole_is_an_error(tmp_path, name, content, said):
    touch(tmp_path, name)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_catalog(tmp_path / name.removesuffix("/notes.txt"))


def test_a_missing_catalog_says_what_one_is(tmp_path):
    with pytest.raises(DataError, match="does not exist: a catalog is a folder of pictures, or a file"):
        read_catalog(tmp_path / "missing.csv")


def test_a_parquet_file_with_pictures_inside_says_that_paths_are_needed(tmp_path):
    with pytest.raises(DataError, match=r"has no column image(.|\n)*column 'image' is binary"):
        read_catalog(write_parquet(tmp_path, image=pa.array([b"x", b"y"])))


def test_attributes_are_described_by_their_frequent_values_or_their_range(tmp_path):
    path = lines(
        tmp_path,
        {"tags": ["b", "a"], "price": 3, "new": True},
        {"tags": ["c", "a"], "price": 1.5, "new": False},
        {"tags": ["b"], "new": True},
    )
    assert describe_attributes(read_catalog(path).entries) == [
        Attribute(name="new", kind="bool", values=[(True, 2), (False, 1)]),
        Attribute(name="price", kind="number", minimum=1.5, maximum=3.0),
        Attribute(name="tags", kind="keyword", values=[("a", 2), ("b", 2), ("c", 1)]),
    ]


def test_at_most_fifty_values_are_described(tmp_path):
    entries, _ = read(lines(tmp_path, *[{"code": f"c{i:02}"} for i in range(60)]))
    assert [value for value, _ in describe_attributes(entries)[0].values] == [f"c{i:02}" for i in range(50)]
