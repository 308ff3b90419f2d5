import pytest

from cirray.config.data import Data
from cirray.data.formats import triplets
from cirray.data.records import Triplet
from tests.support.data_fixtures import triplet, write_catalog, write_lines


def test_the_gallery_of_each_split_is_the_whole_catalog(tmp_path):
    annotations = triplets.read(write_catalog(tmp_path), ["train", "val"])
    assert (annotations.problems, annotations.fatal) == ([], [])
    ids = tuple(f"p{i}" for i in range(6))
    assert all(split.galleries == {"all": ids} for split in annotations.splits.values())
    assert annotations.images["p3"] == tmp_path / "images" / "p3.png"
    assert annotations.image_sources["p3"] == "catalog.jsonl:4"
    assert annotations.titles["p3"] == "t3"
    assert annotations.splits["train"].triplets[0] == Triplet("p0", ("is red", "has dots"), "p1")
    assert (annotations.protocol.exclude_reference, annotations.protocol.selection) == (False, "mean-all")


def test_a_caption_may_be_a_string_a_title_may_be_missing_and_other_keys_are_ignored(tmp_path):
    data = write_catalog(tmp_path)
    write_lines(
        tmp_path / "catalog.jsonl",
        [
            {"id": "a", "image": "a.png", "title": None, "price": 3},
            "",
            {"id": "b", "image": "./b.png", "title": ""},
        ],
    )
    write_lines(tmp_path / "triplets.val.jsonl", [{**triplet("a", "b", "In RED."), "relation": "colour", "note": 3}])
    annotations = triplets.read(data, ["val"])
    assert annotations.problems == []
    assert annotations.titles == {}
    assert annotations.image_sources["b"] == "catalog.jsonl:3"
    assert annotations.splits["val"].triplets == (Triplet("a", ("In RED.",), "b", relation="colour"),)


def test_only_a_test_split_may_have_no_targets(tmp_path):
    data = write_catalog(tmp_path)
    for split in ("val", "test"):
        write_lines(
            tmp_path / f"triplets.{split}.jsonl",
            [triplet("p0", None), {**triplet("p1", None), "target": None}],
        )
    annotations = triplets.read(data, ["val", "test"])
    assert [t.target for t in annotations.splits["test"].triplets] == [None, None]
    assert [str(problem) for problem in annotations.problems] == [
        "triplets.val.jsonl:1: target is missing",
        "triplets.val.jsonl:2: target must be a non-empty string, not null",
    ]


@pytest.mark.parametrize("image", ["/etc/passwd.png", "../x.png", "images/../../x.png", "..\\x.png"])
def test_a_picture_outside_the_data_folder_is_refused(tmp_path, image):
    data = write_catalog(tmp_path)
    write_lines(tmp_path / "catalog.jsonl", [{"id": "p0", "image": image}])
    annotations = triplets.read(data, [])
    assert annotations.images == {}
    assert "inside the data folder" in str(annotations.problems[0])


def test_every_invalid_record_is_reported_with_its_line(tmp_path):
    data = write_catalog(tmp_path)
    write_lines(
        tmp_path / "catalog.jsonl",
        [
            {"id": "p0", "image": "a.png"},
            {"id": "p0", "image": "b.png"},
            '{"id": "p1",',
            {"id": "", "image": 4},
            {"id": "p2", "image": "c.png", "title": 5},
            "[1]",
        ],
    )
    write_lines(
        tmp_path / "triplets.train.jsonl",
        [triplet("p0", "p2"), triplet("p0", "p7", ("fine", " . ")), triplet("p0", "p2", []), {}],
    )
    annotations = triplets.read(data, ["train"])
    assert len(annotations.splits["train"].triplets) == 1
    assert [str(problem) for problem in annotations.problems] == [
        "catalog.jsonl:2: id 'p0' appears twice, first at catalog.jsonl:1",
        "catalog.jsonl:3: not JSON: Expecting property name enclosed in double quotes at column 13",
        'catalog.jsonl:4: id must be a non-empty string, not ""',
        "catalog.jsonl:4: image must be a non-empty string, not 4",
        "catalog.jsonl:5: title must be a non-empty string, not 5",
        "catalog.jsonl:6: must be a JSON object, not [1]",
        'triplets.train.jsonl:2: target "p7" is not in catalog.jsonl',
        "triplets.train.jsonl:2: one of its captions is empty",
        "triplets.train.jsonl:3: captions must be a list of strings, not []",
        "triplets.train.jsonl:4: reference is missing",
        "triplets.train.jsonl:4: target is missing",
        "triplets.train.jsonl:4: captions is missing",
    ]


def test_files_that_are_missing_or_not_text_are_fatal(tmp_path):
    (tmp_path / "triplets.train.jsonl").write_bytes(b"\xff\xfe")
    annotations = triplets.read(Data(format="triplets", root=str(tmp_path)), ["train", "val"])
    assert [problem.where for problem in annotations.fatal] == [
        "catalog.jsonl",
        "triplets.train.jsonl",
        "triplets.val.jsonl",
    ]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path):
    data = write_catalog(tmp_path)
    (tmp_path / "catalog.jsonl").write_bytes(b'\xef\xbb\xbf{"id": "a", "image": "a.png"}\r\n\r\n')
    annotations = triplets.read(data, [])
    assert (list(annotations.images), annotations.problems) == (["a"], [])


def test_integer_ids_are_text_in_the_catalog_and_in_triplets(tmp_path):
    data = write_catalog(tmp_path)
    write_lines(tmp_path / "catalog.jsonl", [{"id": 100, "image": "a.png"}, {"id": "101", "image": "b.png"}])
    write_lines(
        tmp_path / "triplets.val.jsonl",
        [triplet("100", "101"), triplet(101, 100), triplet(True, 100), triplet(1.5, 100), triplet(100, 7)],
    )
    annotations = triplets.read(data, ["val"])
    assert list(annotations.images) == ["100", "101"]
    assert [(t.reference, t.target) for t in annotations.splits["val"].triplets] == [("100", "101"), ("101", "100")]
    assert [str(problem) for problem in annotations.problems] == [
        "triplets.val.jsonl:3: reference must be a non-empty string, not true",
        "triplets.val.jsonl:4: reference must be a non-empty string, not 1.5",
        'triplets.val.jsonl:5: target "7" is not in catalog.jsonl',
    ]


def test_all_known_answers_aspects_and_paraphrases_are_read(tmp_path):
    data = write_catalog(tmp_path)
    known = {"positives": ["p2", "p1", "p2"], "hard_negatives": ["p0", "p3"], "aspects": ["negation", "colour"]}
    write_lines(
        tmp_path / "triplets.val.jsonl",
        [
            {**triplet("p0", "p1", "no stripes"), **known, "query": "q1"},
            {**triplet("p0", "p1", "plain"), "query": "q1", "positives": None, "aspects": []},
            {**triplet("p2", "p3", "plain"), "query": 2, "hard_negatives": []},
        ],
    )
    annotations = triplets.read(data, ["val"])
    assert annotations.problems == []
    first, second, third = annotations.splits["val"].triplets
    assert first == Triplet(
        *("p0", ("no stripes",), "p1"),
        positives=("p2", "p1"),
        hard_negatives=("p0", "p3"),
        aspects=("negation", "colour"),
        query="q1",
    )
    assert (first.answers, second.answers) == (("p2", "p1"), ("p1",))
    assert (second.positives, second.query, third.query, third.hard_negatives) == ((), "q1", "2", ())


def test_wrong_answers_aspects_and_paraphrases_are_reported_with_their_line(tmp_path):
    data = write_catalog(tmp_path)
    wrong = [
        {"positives": ["p1", "ghost", 7]},
        {"positives": ["p2"]},
        {"positives": "p1"},
        {"positives": [""]},
        {"hard_negatives": ["p1", "ghost"]},
        {"hard_negatives": ["p1"]},
        {"positives": ["p1", "p2"], "hard_negatives": ["p2"]},
        {"aspects": "negation"},
        {"aspects": ["two words", "a@b", "[x]"]},
        {"query": 1.5},
        {"query": "q", "target": "ghost"},
        {"query": "q"},
    ]
    lines = [{**triplet("p0", "p1"), **keys} for keys in wrong]
    write_lines(tmp_path / "triplets.val.jsonl", [*lines, {**triplet("p0", "p2"), "query": "q"}])
    annotations = triplets.read(data, ["val"])
    assert [t.query for t in annotations.splits["val"].triplets] == ["q"]
    assert [str(problem).removeprefix("triplets.val.jsonl:") for problem in annotations.problems] == [
        '1: positives "ghost" is not in catalog.jsonl',
        '1: positives "7" is not in catalog.jsonl',
        "2: positives must contain the target, 'p1'",
        '3: positives must be a list of image ids, not "p1"',
        '4: positives must be a non-empty string, not ""',
        '5: hard_negatives "ghost" is not in catalog.jsonl',
        "6: hard_negatives must not contain 'p1', which is a right answer",
        "7: hard_negatives must not contain 'p2', which is a right answer",
        '8: aspects must be a list of strings, not "negation"',
        "9: aspects must be names without spaces, @, [ and ], not 'two words'",
        "9: aspects must be names without spaces, @, [ and ], not 'a@b'",
        "9: aspects must be names without spaces, @, [ and ], not '[x]'",
        "10: query must be a non-empty string, not 1.5",
        '11: target "ghost" is not in catalog.jsonl',
        "13: query 'q' has another reference or target at triplets.val.jsonl:12: paraphrases share both",
    ]
