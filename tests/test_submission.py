"""Ranking files: what a server takes, in the layout of the real examples, and what the offline scorer makes of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import cirray
from cirray.config.data import Data
from cirray.config.evaluation import EvaluateConfig
from cirray.config.recipe import load_recipe
from cirray.data.formats import cirr, fashioniq, load_format
from cirray.data.formats._annotations import Annotations
from cirray.data.records import Dataset, Triplet
from cirray.data.table import TripletTable, build_table
from cirray.errors import ConfigError
from cirray.evaluation.bundle import evaluate_bundle
from cirray.evaluation.cosine import CosineRetriever
from cirray.evaluation.list_scores import score_lists
from cirray.evaluation.metrics import by_k
from cirray.evaluation.ranking_files import Pairs, Rankings, read_pairs, read_rankings
from cirray.evaluation.retriever import evaluate
from cirray.evaluation.submission import rank_bundle, rank_names
from tests.support.bundles import write_bundle
from tests.support.data_fixtures import cirr_record, write_json, write_picture
from tests.test_metrics import CIRR, FASHIONIQ
from tests.test_metrics import cirr as random_cirr
from tests.test_metrics import fashioniq as random_fashioniq

REAL = Path(os.environ.get("CIRRAY_TEST_DATA", "/nonexistent"))
needs_cirr = pytest.mark.skipif(not (REAL / "cirr").is_dir(), reason="CIRRAY_TEST_DATA has no cirr folder")
needs_fashioniq = pytest.mark.skipif(not (REAL / "fashioniq").is_dir(), reason="CIRRAY_TEST_DATA has no fashioniq")


def as_pairs(table: TripletTable, name: str, category: str) -> Pairs:
    """Returns the triplets of one category under their row numbers, images called by theirs."""
    members = table.categories[category][0].tolist()
    triplets = {
        str(row): Triplet(
            str(int(table.reference[row])),
            ("x",),
            str(int(table.target[row])),
            subset=tuple(str(image) for image in table.subset[row].tolist() if image >= 0),
        )
        for row in members
    }
    return Pairs(name, CIRR if name == "cirr" else FASHIONIQ, triplets)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from(["cirr", "fashioniq"]), st.integers(0, 10**6), st.integers(1, 60))
def test_scoring_the_lists_is_evaluating_the_features(name: str, seed: int, top: int) -> None:
    """Features tie often; a figure is the evaluation's or, with lists cut short, not given."""
    protocol = CIRR if name == "cirr" else FASHIONIQ
    table, images, queries = random_cirr(seed) if name == "cirr" else random_fashioniq(seed)
    names = [str(row) for row in range(len(images))]
    ranked, within = rank_names(table, protocol, names, images, queries, top)
    for result in evaluate(CosineRetriever(table, images, queries), protocol):
        if result.category not in table.categories:
            continue
        pairs = as_pairs(table, name, result.category)
        gallery = {names[row] for row in table.categories[result.category][1].tolist()}
        lists = {key: tuple(ranked[int(key)]) for key in pairs.triplets}
        assert all(set(found) <= gallery for found in lists.values())
        assert {len(found) for found in lists.values()} == {min(top, result.gallery)} or name == "cirr"
        scored = score_lists(pairs, Rankings(lists, "recall")).to_json()
        for k, value in ((k, result.metrics[f"R@{k}"]) for k in protocol.ks):
            found = scored["recall"][str(k)]
            if k <= top and k < result.gallery:
                assert found == pytest.approx(value, abs=1e-4) or "image sets only" in str(scored["notes"])
            assert found is None or found == pytest.approx(value, abs=1e-4)
        if name == "cirr":
            lists = {key: tuple(within[int(key)]) for key in lists}
            sets = score_lists(pairs, Rankings(lists, "recall_subset")).to_json()
            assert sets["recall_subset"] == pytest.approx(by_k(result.metrics, "Rs"), abs=1e-4)


@pytest.mark.parametrize("top", [5, 13, 14, 50])
def test_the_reference_is_not_in_any_list(top: int) -> None:
    table, images, queries = random_cirr(3)
    names = [str(row) for row in range(len(images))]
    ranked, within = rank_names(table, CIRR, names, images, queries, top)
    for row, reference in enumerate(table.reference.tolist()):
        assert str(reference) not in ranked[row] + within[row]
        assert len(ranked[row]) == min(top, 13)


# ---------------------------------------------------------------------------------------------------------------------
# real annotations; features are random, as the pictures are not at hand


def dataset_of(annotations: Annotations) -> Dataset:
    assert not annotations.problems
    return Dataset("x", annotations.images, {}, {}, annotations.splits, annotations.protocol)


def random_features(dataset: Dataset, split: str, count: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    images = torch.nn.functional.normalize(torch.randn(len(dataset.images), 16, generator=random), dim=1)
    return images, torch.nn.functional.normalize(torch.randn(count, 16, generator=random), dim=1)


def files_of(annotations: Annotations, data: Data, split: str, top: int = 50) -> dict[str, Any]:
    dataset = dataset_of(annotations)
    table = build_table(dataset, split)
    images, queries = random_features(dataset, split, len(table))
    ranked, within = rank_names(table, dataset.protocol, list(dataset.images), images, queries, top)
    files: dict[str, Any] = json.loads(
        json.dumps(load_format(data.format).ranking_files(dataset.splits[split], ranked, within))
    )
    return files


def check_submission(content: dict[str, Any], metric: str, length: int, references: dict[str, Any]) -> None:
    """What CIRR's server asks of a file; `references` is test1's annotation by pair id."""
    assert list(content)[:2] == ["version", "metric"]
    assert (content["version"], content["metric"]) == ("rc2", metric)
    assert content.keys() - {"version", "metric"} == references.keys()
    known = set(json.loads((REAL / "cirr/image_splits/split.rc2.test1.json").read_text()))
    for pair_id, record in references.items():
        names = content[pair_id]
        assert len(names) == len(set(names)) == length
        assert record["reference"] not in names
        assert set(names) <= (known if metric == "recall" else set(record["img_set"]["members"]))


@needs_cirr
def test_cirr_submissions_are_like_the_real_examples() -> None:
    data = Data(format="cirr", root=str(REAL / "cirr"))
    files = files_of(cirr.read(data, ["test"]), data, "test")
    records = json.loads((REAL / "cirr/captions/cap.rc2.test1.json").read_text())
    references = {str(record["pairid"]): record for record in records}
    assert len(references) == 4148
    for metric, length in (("recall", 50), ("recall_subset", 3)):
        name = f"test1_pred_ranks_{metric}.json"
        example = json.loads((REAL / "cirr/submission_examples" / name).read_text())
        check_submission(example, metric, length, references)  # the check itself is right: the real one passes
        check_submission(files.pop(name), metric, length, references)
        assert type(example["12063"][0]) is str
    assert files == {}


@needs_cirr
def test_the_scorer_reads_the_submissions_of_a_split_with_targets(tmp_path: Path) -> None:
    data = Data(format="cirr", root=str(REAL / "cirr"))
    annotations = cirr.read(data, ["val"])
    table = build_table(dataset_of(annotations), "val")
    images, queries = random_features(dataset_of(annotations), "val", len(table))
    (expected,) = evaluate(CosineRetriever(table, images, queries), annotations.protocol)
    files = files_of(annotations, data, "val")
    pairs = read_pairs(REAL / "cirr/captions/cap.rc2.val.json")
    recall, subset = (
        score_lists(pairs, read_rankings(write_json(tmp_path / name, content), pairs)).to_json()
        for name, content in files.items()
    )
    assert recall["recall"] == pytest.approx(by_k(expected.metrics, "R"), abs=1e-4)
    assert subset["recall_subset"] == pytest.approx(by_k(expected.metrics, "Rs"), abs=1e-4)
    assert recall["notes"] == []


@needs_fashioniq
def test_fashioniq_rankings_are_in_the_challenges_layout(tmp_path: Path) -> None:
    data = Data(format="fashioniq", root=str(REAL / "fashioniq"))
    files = files_of(fashioniq.read(data, ["test"]), data, "test")
    assert list(files) == ["dress.test.pred.json", "shirt.test.pred.json", "toptee.test.pred.json"]
    for name, records in files.items():
        category = name.split(".")[0]
        annotated = json.loads((REAL / f"fashioniq/captions/cap.{category}.test.json").read_text())
        known = set(json.loads((REAL / f"fashioniq/image_splits/split.{category}.test.json").read_text()))
        assert [record["candidate"] for record in records] == [record["candidate"] for record in annotated]
        for record in records:
            assert set(record) == {"candidate", "captions", "ranking"}
            assert len(record["ranking"]) == len(set(record["ranking"])) == 50
            assert set(record["ranking"]) <= known


@needs_fashioniq
def test_the_scorer_reads_fashioniq_rankings(tmp_path: Path) -> None:
    data = Data(format="fashioniq", root=str(REAL / "fashioniq"), categories=("dress",))
    annotations = fashioniq.read(data, ["val"])
    table = build_table(dataset_of(annotations), "val")
    images, queries = random_features(dataset_of(annotations), "val", len(table))
    (expected,) = evaluate(CosineRetriever(table, images, queries), annotations.protocol)
    ((name, content),) = files_of(annotations, data, "val").items()
    pairs = read_pairs(REAL / "fashioniq/captions/cap.dress.val.json")
    found = score_lists(pairs, read_rankings(write_json(tmp_path / name, content), pairs)).to_json()
    assert found["recall"] == pytest.approx(by_k(expected.metrics, "R"), abs=1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# from a bundle and pictures to the files


def test_a_single_pair_is_ranked_like_many(ray_session: None, tmp_path: Path) -> None:
    """The reference's submission script fails on a batch of one."""
    members = ["m0", "m1", "m2", "m3", "m4", "m5"]
    write_json(tmp_path / "captions/cap.rc2.val.json", [cirr_record(5, "m0", "m3", members)])
    names = ["z0", *members]
    write_json(tmp_path / "image_splits/split.rc2.val.json", {name: f"./dev/{name}.png" for name in names})
    pictures = [write_picture(tmp_path / f"dev/{name}.png", seed) for seed, name in enumerate(names)]
    place = write_bundle(tmp_path / "bundle")
    settings_ = {"data.format": "cirr", "data.root": str(tmp_path), "store": str(tmp_path / "store")}
    config = load_recipe(EvaluateConfig, "default", {**settings_, "output": str(tmp_path / "ranks")})

    found = rank_bundle(place, config, "val")

    model = cirray.load(place)
    similarity = (model.encode_query(pictures[1], "Two of them.") @ model.encode_image(pictures).T)[0]
    order = [names[row] for row in similarity.argsort(descending=True).tolist() if names[row] != "m0"]
    recall, subset = (json.loads(Path(file).read_text()) for file in found["files"])
    assert recall == {"version": "rc2", "metric": "recall", "5": order}
    assert subset == {"version": "rc2", "metric": "recall_subset", "5": [n for n in order if n in members][:3]}
    evaluated = evaluate_bundle(place, config, "val")[0]["results"][-1]
    pairs = read_pairs(tmp_path / "captions/cap.rc2.val.json")
    scored = score_lists(pairs, read_rankings(Path(found["files"][1]), pairs)).to_json()
    assert scored["recall_subset"] == evaluated["recall_subset"]
    with pytest.raises(ConfigError, match=r"data\.skip_bad cannot be used"):
        rank_bundle(
            place, load_recipe(EvaluateConfig, "default", {**settings_, "data.skip_bad": True, "output": "x"}), "val"
        )
    with pytest.raises(ConfigError, match="--output DIR is missing"):
        rank_bundle(place, load_recipe(EvaluateConfig, "default", settings_), "val")
