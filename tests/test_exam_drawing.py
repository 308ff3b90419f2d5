"""The exam on the demo catalog: its answers follow from the attributes, its wordings name what changes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cirray.config.data import Data
from cirray.data.exam import read_exam
from cirray.data.load import load_dataset
from cirray.demo.attributes import (
    ATTRIBUTES,
    CATEGORIES,
    Category,
    Garment,
    can_have_logo,
    differences,
    sample_garment,
    variants,
)
from cirray.demo.catalog import Sizes as CatalogSizes
from cirray.demo.catalog import write_catalog
from cirray.demo.exam.changes import Change, draw_changes, needed
from cirray.demo.exam.wordings import captions, corrections, phrase, read_wordings, two_reference_captions
from cirray.demo.exam.write import VERSION, Sizes, write_exam
from cirray.demo.folder import read_manifest
from cirray.demo.phrases import full_captions
from cirray.errors import DataError
from cirray.storage.location import Location

SMALL = CatalogSizes(train=16, val=12, train_triplets=4, val_triplets=4)
TINY = Sizes(queries=6, rounds=4)
# SHA-256 of the exam's text files, and the mean colours of eight of its drawn pictures, by version. If this fails, a
# change altered the exam: increase VERSION in cirray/demo/exam/write.py, and put the new values here.
DIGESTS = {
    1: "2c495dca2c66cb9cfbf52e36d4a874f5877d2056ff239137c7a5c71a568b0e7f",
    2: "07bcd0902b5455f5734e8ec9bfbc04f69c0b25994c6f9895ebf3a7ca6e78833f",
}
COLOURS = {key: [214.75, 191.55, 218.92, 193.91, 214.07, 203.89, 209.87, 193.52] for key in DIGESTS}

Records = list[dict[str, Any]]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "catalog"
    write_catalog(folder, seed=3, sizes=SMALL, workers=1)
    return folder


@pytest.fixture(scope="module")
def exam(catalog: Path) -> Path:
    before = digest(catalog)
    write_exam(catalog, catalog.parent / "exam", TINY, workers=1)
    assert digest(catalog) == before
    return catalog.parent / "exam"


def digest(folder: Path, suffix: str = "") -> str:
    found = hashlib.sha256()
    for path in sorted(folder.rglob(f"*{suffix}")):
        if path.is_file():
            found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()


def lines(path: Path) -> Records:
    return [json.loads(line) for line in path.read_text().splitlines()]


def garments(folder: Path) -> dict[str, Garment]:
    return {
        r["id"]: Garment(**{key: r[key] for key in ("category", *ATTRIBUTES)}) for r in lines(folder / "catalog.jsonl")
    }


def wrong(garment: Garment, query: dict[str, Any], reference: Garment) -> tuple[list[str], list[str]]:
    """The asked and the kept attributes that a garment has wrong, by the values in the file alone."""
    asked = [name for name, value in query["asked"].items() if getattr(garment, name) != value]
    return asked, [name for name in query["kept"] if getattr(garment, name) != getattr(reference, name)]


def queries(exam: Path) -> Records:
    two = [{**record, "reference": record["references"][0]} for record in lines(exam / "exam.two_references.jsonl")]
    return [*lines(exam / "triplets.val.jsonl"), *two]


def test_right_answers_are_all_items_that_have_the_asked_values_and_keep_the_rest(exam: Path) -> None:
    items = garments(exam)
    for query in queries(exam):
        right = [name for name, each in items.items() if wrong(each, query, items[query["reference"]]) == ([], [])]
        assert query["positives"] == right and len(right) >= TINY.least_right
        assert query["reference"] not in right
        assert query.get("target", right[0]) == right[0]
        unknown = {"category", *ATTRIBUTES} - set(query["asked"]) - set(query["kept"])
        assert unknown <= {"logo"}  # of garments that cannot have one


def test_hard_negatives_lose_one_kept_attribute_or_lack_an_asked_one(exam: Path) -> None:
    items, kinds = garments(exam), set()
    for query in queries(exam):
        reference = items[query["reference"]]
        found = []
        for name, garment in items.items():
            asked, kept = wrong(garment, query, reference)
            if not can_have_logo(garment.category, garment.neckline, garment.pattern) and len(kept) > 1:
                kept = [lost for lost in kept if lost != "logo"]  # implied by the other loss
            if name != query["reference"] and (len(asked) > 0) + len(kept) == 1:
                found.append(name)
                kinds.add((bool(asked), *kept))
        assert query["hard_negatives"] == found and len(found) >= 2
        assert any(items[name] == reference for name in found)  # keeps everything and lacks the change
    lost = {kept[0] for asked, *kept in kinds if kept}
    assert lost == set(ATTRIBUTES)


def test_queries_have_six_wordings_and_half_of_them_are_no_wording_of_training(exam: Path) -> None:
    by_query: dict[str, Records] = defaultdict(list)
    for record in lines(exam / "triplets.val.jsonl"):
        by_query[record["query"]].append(record)
    assert len(by_query) == TINY.queries * len(CATEGORIES)
    for wordings in by_query.values():
        assert len({wording["captions"][0] for wording in wordings}) == 6
        assert [wording["aspects"] for wording in wordings[:3]] == [["training"]] * 3
        assert len({wording["aspects"][0] for wording in wordings[3:]}) == 3
        same = [{key: value for key, value in w.items() if key not in ("captions", "aspects")} for w in wordings]
        assert all(record == same[0] for record in same)


def test_no_picture_or_garment_of_train_is_a_right_answer_or_a_drawn_item(exam: Path, catalog: Path) -> None:
    train = {record["id"] for record in lines(catalog / "catalog.jsonl") if record["split"] == "train"}
    trained, items = {garments(catalog)[name] for name in train}, garments(exam)
    assert not train & items.keys()
    assert trained and not trained & set(items.values())


def test_the_second_reference_has_the_wanted_value_and_little_else_of_the_target(exam: Path) -> None:
    items = garments(exam)
    singles = {record["query"]: record for record in lines(exam / "triplets.val.jsonl")}
    records = lines(exam / "exam.two_references.jsonl")
    assert len(records) >= 6
    for record in records:
        first, second = (items[name] for name in record["references"])
        ((name, value),) = record["asked"].items()
        assert getattr(second, name) == value and len(differences(first, second)) >= 3
        assert record["references"][1] not in record["positives"]
        for key in ("positives", "hard_negatives", "asked", "kept"):
            assert record[key] == singles[record["single"]][key]
        assert len(record["captions"]) == 2 and not any(str(value) in caption for caption in record["captions"])


def test_right_answers_of_negative_queries_have_all_but_the_unwanted_value(exam: Path) -> None:
    items = garments(exam)
    for query in lines(exam / "exam.negatives.jsonl"):
        ((name, value),) = query["unwanted"].items()
        assert getattr(items[query["reference"]], name) == value and name not in {*query["asked"], *query["kept"]}
        rest = {"category", *ATTRIBUTES} - {name} - query["asked"].keys() - set(query["kept"])
        assert rest <= {"logo"}  # where another neckline or pattern may not have one
        right = [
            identifier
            for identifier, each in items.items()
            if wrong(each, query, items[query["reference"]]) == ([], []) and getattr(each, name) != value
        ]
        assert query["positives"] == right and right


def test_each_wording_of_a_change_names_and_shows_the_unwanted_value(exam: Path, catalog: Path) -> None:
    items = garments(exam)
    singles = [(each["query"], each["captions"]) for each in lines(exam / "triplets.val.jsonl")]
    records = lines(exam / "exam.negatives.jsonl")
    phrases = [style["phrases"] for style in read_wordings()["styles"].values()]
    by_kind: dict[str, Records] = defaultdict(list)
    for record in records:
        ((kind, unwanted),) = record["not"].items()
        ((name, value),) = record["unwanted"].items()
        by_kind[kind].append(record)
        assert record["aspects"] == [kind]
        if kind == "id":
            assert getattr(items[unwanted], name) == value and (catalog / "images" / f"{unwanted}.png").exists()
            asked = {key: getattr(items[unwanted], key) == want for key, want in record["asked"].items()}
            kept = [getattr(items[unwanted], key) == getattr(items[record["reference"]], key) for key in record["kept"]]
            assert [*asked.values(), *kept].count(False) >= 2 and unwanted not in record["positives"]
        else:
            key = str(value).lower()
            assert unwanted in [(each[name].get(key) or each[name]["any"]).format(value=value) for each in phrases]
    for found in by_kind.values():
        assert [(each["single"], each["captions"]) for each in found] == singles
    counts = Counter(name for record in by_kind["id"] for name in record["unwanted"])
    assert len(counts) >= 5 and "category" not in counts


def test_targets_of_rounds_differ_from_their_start_in_three_or_four_attributes(exam: Path) -> None:
    items = garments(exam)
    records = lines(exam / "exam.rounds.jsonl")
    assert len(records) == TINY.rounds * len(CATEGORIES)
    for record in records:
        target = items[record["target"]]
        assert len(differences(items[record["start"]], target)) in (3, 4)
        assert record["positives"] == [name for name, each in items.items() if each == target]
        assert record["say"].keys() == {"category", *ATTRIBUTES}


def test_the_exam_is_data_in_the_format_triplets(exam: Path, tmp_path: Path) -> None:
    data = load_dataset(Data(format="triplets", root=str(exam)), Location.parse(tmp_path), "white", ("val",))
    assert len(data.images) == len(garments(exam)) and len(data.splits["val"].triplets) == 6 * TINY.queries * 3
    read = read_exam(exam)
    assert (len(read.queries), len(read.goals)) == (len(data.splits["val"].triplets), TINY.rounds * 3)
    assert len(read.negatives) == 2 * len(read.queries)
    assert [query.captions for query in read.queries] == [each.captions for each in data.splits["val"].triplets]


def test_pictures_of_the_catalog_are_linked_and_not_copied(exam: Path, catalog: Path) -> None:
    assert (exam / "catalog-images").readlink() == Path("../catalog/images")  # both folders can be moved together
    val = {record["id"] for record in lines(catalog / "catalog.jsonl") if record["split"] == "val"}
    drawn = {path.stem for path in (exam / "images").iterdir()}
    assert not val & drawn and val | drawn == garments(exam).keys()


def test_items_of_one_garment_are_different_pictures(exam: Path) -> None:
    by_garment: dict[Garment, list[str]] = defaultdict(list)
    for name, garment in garments(exam).items():
        by_garment[garment].append(name)
    pictures = {record["id"]: exam / record["image"] for record in lines(exam / "catalog.jsonl")}
    several = [names for names in by_garment.values() if len(names) > 1]
    assert len(several) >= TINY.queries * 3
    for one, two in (pair for names in several for pair in combinations(names, 2)):
        first, second = (np.asarray(Image.open(pictures[name]), np.float32) for name in (one, two))
        assert np.abs(first - second).max() > 10


def test_the_same_catalog_gives_the_same_exam_with_any_number_of_workers(
    exam: Path, catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cirray.demo.pictures.POOL_FROM", 1)
    write_exam(catalog, tmp_path / "again", TINY, workers=2)
    assert digest(tmp_path / "again") == digest(exam)


def test_the_version_changes_with_the_exam(exam: Path) -> None:
    assert read_manifest(exam)["version"] == VERSION
    assert digest(exam, ".jsonl") == DIGESTS[VERSION], "the exam has changed: see DIGESTS"
    pictures = sorted((exam / "images").iterdir())[::24]
    means = [float(np.asarray(Image.open(path), np.float64).mean()) for path in pictures]
    assert means == pytest.approx(COLOURS[VERSION], abs=0.02), "the drawing has changed: see COLOURS"


def test_a_complete_exam_is_left_alone_and_another_is_refused(exam: Path, catalog: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in exam.rglob("*")}
    write_exam(catalog, exam, TINY)
    assert {path: path.stat().st_mtime_ns for path in exam.rglob("*")} == before
    with pytest.raises(DataError, match="contains another exam and is not overwritten"):
        write_exam(catalog, exam, Sizes(queries=5))


def test_a_folder_that_is_no_demo_catalog_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is no demo catalog of version 1: draw one with jobs/demo\.py"):
        write_exam(tmp_path, tmp_path / "exam")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_value_has_its_own_phrase_in_every_style(category: Category) -> None:
    rng = np.random.default_rng(1)
    garment = sample_garment(category, rng)
    for style in read_wordings()["styles"].values():
        for attribute in ATTRIBUTES:
            others = [garment, *variants(garment, attribute)]
            said = {getattr(other, attribute): phrase(style, attribute, other) for other in others}
            assert len(set(said.values())) == len(said)
            assert all(text and "{" not in text for text in said.values())


def test_synonyms_use_none_of_the_words_of_the_values() -> None:
    for by_value in read_wordings()["styles"]["synonyms"]["phrases"].values():
        for value, text in by_value.items():
            known = {"knee"} | ({"collar"} if "collar" in value else set())
            assert not {word for word in value.replace("-", " ").split() if word in text.split()} - known, text


def test_captions_name_every_change() -> None:
    rng = np.random.default_rng(2)
    for category in CATEGORIES:
        items = {str(number): sample_garment(category, rng) for number in range(30)}
        changes = draw_changes(items, category, 30, frozenset(), rng)
        assert {len(change.asked) for change in changes} == {1, 2, 3}
        names = set(ATTRIBUTES) - ({"logo"} if category == "dress" else set())
        assert {name for change in changes for name in change.asked if len(change.asked) == 1} == names
        for change in changes:
            for style, text in captions(change.source, change.target, rng)[3:]:
                phrases = [phrase(read_wordings()["styles"][style], name, change.target) for name in change.asked]
                assert all(part in text for part in phrases)


def test_garments_of_the_train_split_are_neither_targets_nor_drawn() -> None:
    rng = np.random.default_rng(4)
    items = {str(number): sample_garment("shirt", rng) for number in range(10)}
    changes = draw_changes(items, "shirt", 20, frozenset(), np.random.default_rng(5))
    trained = {change.target for change in changes}
    others = draw_changes(items, "shirt", 20, trained, np.random.default_rng(5))
    assert len(others) == 20 and not trained & {change.target for change in others}
    for change in others:
        own = {change.target, change.source}
        drawn = needed(change, 3, frozenset(), np.random.default_rng(6)).keys() - own
        assert drawn and not drawn & needed(change, 3, drawn, np.random.default_rng(6)).keys()


def test_training_wordings_each_name_every_change() -> None:
    rng = np.random.default_rng(3)
    reference = Garment("shirt", "red", "long", "classic collar", "regular", "plain")
    target = Garment("shirt", "blue", "short", "classic collar", "regular", "striped")
    for text in full_captions(reference, target, rng, 3):
        assert "blue" in text and "short" in text and "strip" in text
    with pytest.raises(ValueError, match="only"):
        full_captions(replace(reference, logo=True), reference, rng, 60)
    with pytest.raises(ValueError, match="two different garments"):
        full_captions(reference, reference, rng, 1)


def test_a_logo_that_cannot_stay_is_neither_asked_nor_kept() -> None:
    source = Garment("toptee", "red", "short", "crew", "regular", "plain", logo=True)
    change = Change("a", source, Garment("toptee", "red", "short", "crew", "regular", "striped"))
    assert change.asked == ("pattern",) and change.kept == ("colour", "sleeve", "neckline", "length")


def test_captions_of_two_references_and_of_rounds() -> None:
    for attribute in ATTRIBUTES:
        pairs = two_reference_captions(attribute)
        assert len(set(pairs)) == 6 and all("{" not in text for pair in pairs for text in pair)
    said = corrections(Garment("dress", "red", "short", "crew", "mini", "plain"))
    assert said["category"] == "a dress" and said["colour"] == "in red" and said["logo"] == "with no logo"
