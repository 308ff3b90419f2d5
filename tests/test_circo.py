"""CIRCO: reading its layout, and the way from rankings to its metrics and submissions."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch

import jobs.score
from cirray.config.data import Data
from cirray.config.evaluation import EvaluateConfig
from cirray.config.recipe import load_recipe
from cirray.data.formats import circo
from cirray.data.load import load_dataset
from cirray.data.records import Triplet
from cirray.errors import ConfigError, DataError
from cirray.evaluation.bundle import evaluate_bundle
from cirray.evaluation.submission import rank_bundle
from cirray.storage.location import Location
from tests.support.bundles import write_bundle
from tests.support.data_fixtures import write_json, write_picture

IDS = [7, 30, 2, 100000, 581929, 44]
KS = (5, 10, 25, 50)


def record(query: int, reference: int, answers: list[int], aspects: list[str] | None = None) -> dict[str, Any]:
    """Returns a record of val; without answers, of test."""
    values: dict[str, Any] = {"id": query, "reference_img_id": reference, "relative_caption": "has two dogs"}
    if not answers:
        return {**values, "shared_concept": "a dog"}
    return {
        **values,
        "shared_concept": "a dog",
        "target_img_id": answers[0],
        "gt_img_ids": answers,
        "semantic_aspects": aspects or [],
    }


VAL = [record(0, 7, [30, 2], ["cardinality", "negation"]), record(1, 44, [581929])]
TEST = [record(0, 30, []), record(1, 2, [])]


def write(root: Path, folder: str = "COCO2017_unlabeled", info: bool = True, pictures: bool = False) -> Data:
    """Writes a small CIRCO; returns the configuration to read it."""
    write_json(root / "annotations/val.json", VAL)
    write_json(root / "annotations/test.json", TEST)
    names = [f"{identifier:012}.jpg" for identifier in IDS]
    if info:
        images = [{"id": identifier, "file_name": name} for identifier, name in zip(IDS, names, strict=True)]
        write_json(root / folder / "annotations/image_info_unlabeled2017.json", {"images": images})
    for seed, name in enumerate(names if pictures else ()):
        write_picture(root / folder / "unlabeled2017" / name, seed)
    return Data(format="circo", root=str(root))


@pytest.mark.parametrize("folder", ["COCO2017_unlabeled", ""])
def test_both_splits_are_read_with_the_whole_gallery(tmp_path: Path, folder: str) -> None:
    annotations = circo.read(write(tmp_path, folder), ["val", "test"])
    assert (annotations.problems, annotations.fatal, annotations.titles) == ([], [], {})
    gallery = tuple(map(str, IDS))
    assert [split.galleries for split in annotations.splits.values()] == [{"all": gallery}] * 2
    assert annotations.images["100000"] == tmp_path / folder / "unlabeled2017/000000100000.jpg"
    assert annotations.image_sources["30"].endswith("annotations/image_info_unlabeled2017.json images entry 1")
    assert annotations.splits["val"].triplets == (
        Triplet(
            *("7", ("has two dogs",), "30"),
            pair_id="0",
            positives=("30", "2"),
            aspects=("cardinality", "negation"),
        ),
        Triplet("44", ("has two dogs",), "581929", pair_id="1", positives=("581929",)),
    )
    assert annotations.splits["test"].triplets == (
        Triplet("30", ("has two dogs",), None, pair_id="0"),
        Triplet("2", ("has two dogs",), None, pair_id="1"),
    )
    assert not annotations.protocol.exclude_reference
    assert annotations.protocol.precision_ks == KS


def test_the_protocol_says_how_many_images_the_gallery_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(tmp_path)
    assert circo.read(data, ["val"]).protocol.name == "circo (gallery of 6 images instead of 123,403, reference kept)"
    monkeypatch.setattr(circo, "IMAGES", 6)
    assert circo.read(data, ["val"]).protocol.name == "circo (gallery of 6 images, reference kept)"


def test_without_the_image_info_the_gallery_is_the_picture_folder(tmp_path: Path) -> None:
    data = write(tmp_path, "", info=False, pictures=True)
    (tmp_path / "unlabeled2017/notes.jpg").touch()
    annotations = circo.read(data, ["val"])
    assert (annotations.problems, annotations.fatal) == ([], [])
    assert list(annotations.images) == [str(identifier) for identifier in sorted(IDS)]
    assert annotations.image_sources["44"] == "unlabeled2017/000000000044.jpg"


def test_without_either_the_report_says_what_is_missing(tmp_path: Path) -> None:
    (problem,) = circo.read(write(tmp_path, info=False), ["val"]).fatal
    assert problem.where == "annotations/image_info_unlabeled2017.json"
    assert "the file is missing, and" in problem.what and "has no pictures" in problem.what


def test_there_is_no_train_split(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="CIRCO has no train split: train on another dataset, and evaluate"):
        load_dataset(write(tmp_path), Location.parse(tmp_path / "cache"), "white")


def test_every_invalid_record_is_reported_with_its_entry(tmp_path: Path) -> None:
    data = write(tmp_path)
    broken = [
        VAL[0],
        {**record(0, 7, [30]), "relative_caption": " . "},
        record(2, 8, [30, 9]),
        {**record(3, 7, [30]), "target_img_id": 2},
        {**record(4, 7, [30]), "gt_img_ids": 30},
        {**record(5, 7, [30]), "semantic_aspects": ["two words"]},
        {"id": 6},
    ]
    write_json(tmp_path / "annotations/val.json", broken)
    name = "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json"
    images: list[Any] = [{"id": 7, "file_name": "7.jpg"}, {"id": 7, "file_name": "8.jpg"}, 5]
    images += [{"id": 30, "file_name": "30.jpg"}, {"id": 2, "file_name": "2.jpg"}, {"id": 1, "file_name": "../1.jpg"}]
    write_json(tmp_path / name, {"images": images})
    annotations = circo.read(data, ["val"])
    assert [triplet.pair_id for triplet in annotations.splits["val"].triplets] == ["0"]
    entry = "annotations/val.json entry"
    assert [str(problem) for problem in annotations.problems] == [
        f"{name} images entry 1: id 7 appears twice, first at {name} images entry 0",
        f"{name} images entry 2: must be a JSON object",
        f"{name} images entry 5: file_name '../1.jpg' leads out of the data folder",
        f"{entry} 1: id 0 appears twice, first at {entry} 0",
        f"{entry} 1: the caption ' . ' is empty",
        f'{entry} 2: reference_img_id "8" is not in the gallery',
        f'{entry} 2: gt_img_ids "9" is not in the gallery',
        f"{entry} 3: gt_img_ids must contain the target, '2'",
        f"{entry} 4: gt_img_ids must be a list of image ids, not 30",
        f"{entry} 5: semantic_aspects must be names without spaces, @, [ and ], not 'two words'",
        f"{entry} 6: reference_img_id is missing",
        f"{entry} 6: target_img_id is missing",
        f"{entry} 6: relative_caption is missing",
    ]


@pytest.mark.parametrize("content", [{"images": 5}, {}, []])
def test_an_image_info_file_of_another_kind_is_fatal(tmp_path: Path, content: Any) -> None:
    data = write(tmp_path)
    write_json(tmp_path / "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json", content)
    assert len(circo.read(data, ["val"]).fatal) == 1


# ---------------------------------------------------------------------------------------------------------------------
# scoring ranking files


def score(capsys: pytest.CaptureFixture[str], ranks: Path, annotations: Path) -> dict[str, Any]:
    jobs.score.run(["--ranks", str(ranks), "--annotations", str(annotations)])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def oracle(records: list[dict[str, Any]], rankings: dict[str, list[int]]) -> dict[str, float]:
    """CIRCO's metrics in percent, position by position."""

    def precision(values: dict[str, Any], k: int) -> float:
        right, total = 0, 0.0
        for position, name in enumerate(rankings[str(values["id"])][:k], start=1):
            if name in values["gt_img_ids"]:
                right += 1
                total += right / position
        return 100 * total / min(len(values["gt_img_ids"]), k)

    def found(values: dict[str, Any], k: int) -> float:
        return 100.0 * (values["target_img_id"] in rankings[str(values["id"])][:k])

    metrics = {f"R@{k}": fmean(found(values, k) for values in records) for k in (1, *KS)}
    metrics |= {f"mAP@{k}": fmean(precision(values, k) for values in records) for k in KS}
    for aspect in {aspect for values in records for aspect in values["semantic_aspects"]}:
        having = [precision(values, 10) for values in records if aspect in values["semantic_aspects"]]
        metrics[f"mAP[{aspect}]@10"] = fmean(having)
    return metrics


def random_case(seed: int) -> tuple[list[dict[str, Any]], dict[str, list[int]]]:
    """Annotations and rankings of 50 among 90 images, many of them right."""
    random = np.random.default_rng(seed)
    records, rankings = [], {}
    for query in range(12):
        reference, *answers = random.permutation(90)[: random.integers(2, 30)].tolist()
        aspects = [name for name in ("negation", "addition", "viewpoint") if random.random() < 0.4]
        records.append(record(query, reference, answers, aspects))
        rankings[str(query)] = random.permutation(90)[:50].tolist()
    return records, rankings


@pytest.mark.parametrize("seed", range(5))
def test_a_submission_is_scored_like_position_by_position(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    records, rankings = random_case(seed)
    found = score(capsys, write_json(tmp_path / "ranks.json", rankings), write_json(tmp_path / "val.json", records))
    assert (found["dataset"], found["reference"], found["queries"]) == ("circo", "kept", 12)
    assert found["metrics"] == pytest.approx(oracle(records, rankings), abs=1e-4)
    assert found["recall"]["10"] == found["metrics"]["R@10"]
    assert found["undecidable"] == {}


def test_short_lists_give_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Query 0 has found its target, but not its other right answer; query 1 has found none."""
    ranks = write_json(tmp_path / "ranks.json", {"0": [30, 44, 100000, 581929, 7], "1": [2, 7, 44, 30, 100000, 9]})
    found = score(capsys, ranks, write_json(tmp_path / "val.json", VAL))
    assert found["metrics"]["mAP@5"] == 25.0
    assert found["undecidable"]["R@10"].startswith(
        "1 of 2 lists end before rank 10 without the target (pair 1 after 6)"
    )
    assert found["undecidable"]["mAP@10"] == (
        "2 of 2 lists end before rank 10 without a right answer (pair 0 after 5); the value is between 25.00 and 40.48"
    )
    assert found["undecidable"]["mAP[negation]@10"] == (
        "1 of 2 lists end before rank 10 without a right answer (pair 0 after 5); the value is between 50.00 and 66.67"
    )


def test_a_submission_of_the_test_split_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotations = write_json(tmp_path / "test.json", TEST)
    lists = {"0": list(range(50)), "1": list(range(100, 150))}
    found = score(capsys, write_json(tmp_path / "ranks.json", lists), annotations)
    assert (found["valid"], found["queries"], found["lists_with_reference"]) == (True, 2, 1)
    assert found["images_per_query"] == {"fewest": 50, "most": 50}

    def refused(content: Any, message: str) -> None:
        with pytest.raises(DataError) as caught:
            score(capsys, write_json(tmp_path / "ranks.json", content), annotations)
        assert message in str(caught.value)

    refused({"0": lists["0"]}, "1 of 2 pairs: have no ranking, such as pair 1")
    refused({**lists, "2": lists["0"]}, "1 of 3 rankings: are of pairs without annotation, such as '2'")
    refused({**lists, "1": [5, *range(49)]}, "pair 1: 5 is listed twice")
    refused({**lists, "1": list(map(str, range(50)))}, "pair 1: its ranking must be a list of image ids as integers")
    refused({**lists, "1": list(range(49))}, "pair 1: lists 49 images; the server requires 50")


# ---------------------------------------------------------------------------------------------------------------------
# from a bundle and pictures to the files


def test_a_bundle_is_evaluated_and_ranked(
    ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "data", pictures=True)
    bundle = write_bundle(tmp_path / "bundle")
    settings = {"data.format": "circo", "data.root": data.root, "store": str(tmp_path / "store")}
    config = load_recipe(EvaluateConfig, "default", {**settings, "output": str(tmp_path / "ranks")})
    report, table = evaluate_bundle(bundle, config, "val")
    metrics = report["results"][-1]["metrics"]
    assert "mAP@10" in table and "mAP[negation]@10" in table

    (file,) = rank_bundle(bundle, config, "val")["files"]
    assert Path(file).name == "submission_val.json"
    rankings = json.loads(Path(file).read_text())
    assert all(sorted(names) == sorted(IDS) for names in rankings.values())  # the reference stays
    assert metrics == pytest.approx(oracle(VAL, rankings), abs=1e-4)
    scored = score(capsys, Path(file), tmp_path / "data/annotations/val.json")
    assert scored["metrics"] == pytest.approx(metrics, abs=1e-4)

    (file,) = rank_bundle(bundle, config, "test")["files"]
    assert list(json.loads(Path(file).read_text())) == ["0", "1"]
    with pytest.raises(ConfigError, match="split test of circo has no targets"):
        evaluate_bundle(bundle, config, "test")


# ---------------------------------------------------------------------------------------------------------------------
# real annotations


@pytest.fixture
def real(real_data: Path) -> Path:
    if not (real_data / "circo").is_dir():
        pytest.skip("CIRRAY_TEST_DATA has no circo folder")
    return real_data / "circo"


def write_info(root: Path, real: Path) -> Data:
    """Writes a CIRCO with the real annotations, and an image info file of the images that they name."""
    documents = {split: json.loads((real / f"annotations/{split}.json").read_text()) for split in ("val", "test")}
    records = documents["val"] + documents["test"]
    ids = {values["reference_img_id"] for values in records}
    ids |= {identifier for values in documents["val"] for identifier in values["gt_img_ids"]}
    images = [{"id": identifier, "file_name": f"{identifier:012}.jpg"} for identifier in sorted(ids)]
    write_json(root / "annotations/image_info_unlabeled2017.json", {"images": images})
    for split, document in documents.items():
        write_json(root / f"annotations/{split}.json", document)
    return Data(format="circo", root=str(root))


def test_the_real_annotations_are_read_completely(tmp_path: Path, real: Path) -> None:
    annotations = circo.read(write_info(tmp_path, real), ["val", "test"])
    assert (annotations.problems, annotations.fatal) == ([], [])
    val, test = (annotations.splits[name].triplets for name in ("val", "test"))
    assert (len(val), len(test)) == (220, 800)
    assert fmean(len(triplet.positives) for triplet in val) == pytest.approx(4.16, abs=0.01)
    assert all(triplet.target == triplet.positives[0] for triplet in val)
    assert len({aspect for triplet in val for aspect in triplet.aspects}) == 9
    assert {triplet.target for triplet in test} == {None}


def test_the_real_submission_examples(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    examples = real / "submission_examples"
    found = score(capsys, examples / "submission_val.json", real / "annotations/val.json")
    records = json.loads((real / "annotations/val.json").read_text())
    rankings = json.loads((examples / "submission_val.json").read_text())
    assert found["metrics"] == pytest.approx(oracle(records, rankings), abs=1e-4)
    assert found["notes"] == []
    found = score(capsys, examples / "submission_test.json", real / "annotations/test.json")
    assert (found["valid"], found["queries"], found["images_per_query"]) == (True, 800, {"fewest": 50, "most": 50})


def test_our_submissions_are_like_the_real_examples(tmp_path: Path, real: Path) -> None:
    split = circo.read(write_info(tmp_path, real), ["test"]).splits["test"]
    names = list(split.galleries["all"])
    random = torch.Generator().manual_seed(0)
    ranked = [[names[row] for row in torch.randperm(len(names), generator=random)[:50]] for _ in split.triplets]
    ((name, content),) = circo.ranking_files(split, ranked, [[]] * len(ranked)).items()
    example = json.loads((real / "submission_examples" / name).read_text())
    assert json.loads(json.dumps(content)).keys() == example.keys()
    for lists in (content, example):
        assert {len(each) for each in lists.values()} == {50}
        assert {type(identifier) for each in lists.values() for identifier in each} == {int}
