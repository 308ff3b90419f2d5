"""jobs/exam.py: the measures are those of the bundle's own features; damaged exams and wrong options are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import cirray
from cirray.data.exam import Exam, Query, read_exam
from cirray.demo.catalog import Sizes as CatalogSizes
from cirray.demo.catalog import write_catalog
from cirray.demo.exam.write import Sizes, write_exam
from cirray.errors import DataError
from cirray.evaluation.baselines import ImageOnly
from cirray.evaluation.exam.failures import find_failures, what_is_wrong
from cirray.evaluation.exam.reranking_searcher import RerankingSearcher
from cirray.evaluation.exam.searcher import Captions, Searcher
from cirray.evaluation.exam.table import text_table
from cirray.evaluation.reranked import RerankedTop
from cirray.models.bundle import Model
from cirray.models.composition import UNWANTED_WEIGHT
from cirray.models.reranking import Reranker
from tests.support.bundles import fine_tuned, write_bundle
from tests.support.encoder_fixtures import tiny_encoder
from tests.support.jobs import run_job, succeed
from tests.test_exam_answer_order import slow_precision

pytestmark = pytest.mark.usefixtures("ray_session")

Records = list[dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with catalog, exam and bundle."""
    root = tmp_path_factory.mktemp("demo")
    write_catalog(root / "catalog", seed=1, sizes=CatalogSizes(train=8, val=10, train_triplets=2, val_triplets=2))
    write_exam(root / "catalog", root / "exam", Sizes(queries=3, rounds=3))
    write_bundle(root / "bundle", encoder=fine_tuned(tiny_encoder()), pretrained=tiny_encoder())
    return root


@pytest.fixture(scope="module")
def scored(folder: Path, ray_session: None) -> tuple[dict[str, Any], str]:
    """The report that the job writes, and its output."""
    arguments = {"exam": "exam", "bundle": "bundle", "output": "results", "store": "store"}
    done = succeed("exam", *(part for key, name in arguments.items() for part in (f"--{key}", str(folder / name))))
    return json.loads((folder / "results" / "exam.json").read_text()), done.stdout


def lines(path: Path) -> Records:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def ranked(folder: Path) -> Callable[[Tensor], list[str]]:
    """Ranks the exam's gallery for a query feature by the pictures themselves, without a feature store."""
    model, items = cirray.load(folder / "bundle"), lines(folder / "exam" / "catalog.jsonl")
    gallery = model.encode_image([folder / "exam" / item["image"] for item in items])

    def rank(query: Tensor) -> list[str]:
        order = (gallery @ query).argsort(descending=True, stable=True)
        return [items[row]["id"] for row in order.tolist()]

    return rank


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return cirray.load(folder / "bundle")


def picture(folder: Path, identifier: str) -> Path:
    paths = {item["id"]: item["image"] for item in lines(folder / "exam" / "catalog.jsonl")}
    return folder / "exam" / paths[identifier]


def test_measures_of_one_reference_are_those_of_the_bundle(
    folder: Path, scored: tuple[dict[str, Any], str], model: Model, ranked: Callable[[Tensor], list[str]]
) -> None:
    values = scored[0]["measures"]["combiner"]
    precisions: dict[str, list[float]] = {}
    first_is_hard, asked, kept = [], [], []
    items = {item["id"]: item for item in lines(folder / "exam" / "catalog.jsonl")}
    for query in lines(folder / "exam" / "triplets.val.jsonl"):
        (feature,) = model.encode_query(picture(folder, query["reference"]), query["captions"][0])
        names = ranked(feature)
        precision = slow_precision([names.index(identifier) for identifier in query["positives"]], 10)
        for key in ("all", query["query"], *query["aspects"]):
            precisions.setdefault(key, []).append(100 * precision)
        first_is_hard.append(names[0] in query["hard_negatives"])
        top, reference = items[names[0]], items[query["reference"]]
        asked.append(fmean(top[name] == value for name, value in query["asked"].items()))
        kept.append(fmean(top[name] == reference[name] for name in query["kept"]))
    close = {"abs": 0.02}  # the features are the same up to rounding
    assert values["mAP@10"] == pytest.approx(fmean(precisions["all"]), **close)
    for style in ("training", "request", "keywords", "synonyms"):
        assert values[f"mAP[{style}]@10"] == pytest.approx(fmean(precisions[style]), **close)
    wordings = [values for name, values in precisions.items() if "-" in name]
    assert values["mAP-spread@10"] == pytest.approx(fmean(max(each) - min(each) for each in wordings), **close)
    assert values["HN@1"] == pytest.approx(100 * fmean(first_is_hard), **close)
    assert values["asked-kept@1"] == pytest.approx(100 * fmean(asked), **close)
    assert values["unasked-kept@1"] == pytest.approx(100 * fmean(kept), **close)
    assert values["mAP@10"] > 0 and values["mAP-spread@10"] > 0


def test_two_references_are_the_sum_of_their_unit_queries(
    folder: Path, scored: tuple[dict[str, Any], str], model: Model, ranked: Callable[[Tensor], list[str]]
) -> None:
    values = scored[0]["measures"]["combiner"]
    found: dict[str, list[float]] = {"both": [], "first": [], "second": []}
    records = lines(folder / "exam" / "exam.two_references.jsonl")
    for query in records:
        pictures = [picture(folder, identifier) for identifier in query["references"]]
        first, second = model.encode_query(pictures, query["captions"])
        for name, feature in (("both", first + second), ("first", first), ("second", second)):
            names = ranked(feature)
            found[name].append(100 * slow_precision([names.index(each) for each in query["positives"]], 10))
    assert values["two mAP@10"] == pytest.approx(fmean(found["both"]), abs=0.02)
    assert values["two mAP[first]@10"] == pytest.approx(fmean(found["first"]), abs=0.02)
    assert values["two mAP[second]@10"] == pytest.approx(fmean(found["second"]), abs=0.02)
    singles = {record["single"] for record in records}
    single = []
    for query in lines(folder / "exam" / "triplets.val.jsonl"):
        if query["query"] in singles:
            (feature,) = model.encode_query(picture(folder, query["reference"]), query["captions"][0])
            names = ranked(feature)
            single.append(100 * slow_precision([names.index(each) for each in query["positives"]], 10))
    assert values["two loss mAP@10"] == pytest.approx(fmean(single) - fmean(found["both"]), abs=0.04)


def test_negative_queries_move_away_from_what_is_not_wanted(
    folder: Path, scored: tuple[dict[str, Any], str], model: Model, ranked: Callable[[Tensor], list[str]]
) -> None:
    values = scored[0]["measures"]["combiner"]
    items = {item["id"]: item for item in lines(folder / "exam" / "catalog.jsonl")}
    found: dict[str, list[float]] = {"all": [], "text": [], "id": [], "without": []}
    unwanted: dict[str, list[float]] = {"": [], "[without]": []}
    kept, neutral = [], model.encode_text("")[0]
    for query in lines(folder / "exam" / "exam.negatives.jsonl"):
        (plain,) = model.encode_query(picture(folder, query["reference"]), query["captions"][0])
        ((kind, what),) = query["not"].items()
        shown = kind == "id"
        away = model.encode_image(picture(folder, what))[0] if shown else model.encode_text(what)[0] - neutral
        rankings = {"": ranked(plain - UNWANTED_WEIGHT * away / away.norm()), "[without]": ranked(plain)}
        ((name, value),) = query["unwanted"].items()
        for key, names in rankings.items():
            unwanted[key].append(100 * fmean(items[each][name] == value for each in names[:10]))
            precision = 100 * slow_precision([names.index(each) for each in query["positives"]], 10)
            for which in ("all", kind) if not key else ("without",):
                found[which].append(precision)
        top, reference = items[rankings[""][0]], items[query["reference"]]
        kept.append(100 * fmean(top[each] == reference[each] for each in query["kept"]))
    close = {"abs": 0.02}
    assert values["not mAP@10"] == pytest.approx(fmean(found["all"]), **close)
    for which in ("text", "id", "without"):
        assert values[f"not mAP[{which}]@10"] == pytest.approx(fmean(found[which]), **close)
    for key, shares in unwanted.items():
        assert values[f"not unwanted{key}@10"] == pytest.approx(fmean(shares), **close)
    assert values["not unasked-kept@1"] == pytest.approx(fmean(kept), **close)
    assert len({round(fmean(each), 2) for each in found.values()}) > 1  # the measures can tell them apart


def test_a_search_leaves_out_the_reference(model: Model) -> None:
    ids, images = ["a", "b", "c", "d"], torch.eye(4, model.manifest["dim"])
    images[1] += 0.5 * images[0]
    searcher = Searcher(ids, images, Captions(model), ImageOnly())
    found = searcher.search(["a", "b"], ["is red", "is red"])
    assert found == [["b", "c", "d"], ["a", "c", "d"]]
    order = searcher.rank(searcher.queries(["a", "b"], ["is red", "is red"]))
    assert [ids[row] for row in order[:, 0]] == ["a", "b"]  # and a ranking keeps it


def test_reranked_queries_of_one_reference(folder: Path, tmp_path: Path, ranked: Callable[[Tensor], list[str]]) -> None:
    """Their first five answers are in the order of the bundle's reranker; composed queries are not reranked."""
    bundle = write_bundle(
        tmp_path / "bundle", encoder=fine_tuned(tiny_encoder()), pretrained=tiny_encoder(), reranker="attention"
    )
    arguments = {"exam": folder / "exam", "bundle": bundle, "store": folder / "store", "output": tmp_path / "results"}
    done = succeed("exam", *(f"--{key}={name}" for key, name in arguments.items()), "--rerank.top", "5")
    report = json.loads((tmp_path / "results" / "exam.json").read_text())
    values = report["measures"]["combiner + attention@5"]
    model, firsts, precisions = cirray.load(bundle), [], []
    assert model.reranker is not None
    for query in lines(folder / "exam" / "triplets.val.jsonl"):
        parts = picture(folder, query["reference"]), query["captions"][0]
        names = ranked(model.encode_query(*parts)[0])
        top = [picture(folder, name) for name in names[:5]]
        with torch.inference_mode():
            scores = model.reranker.score(
                model.encode_image(parts[0], normalize=False),
                model.encode_caption(parts[1], normalize=False),
                model.encode_query(*parts),
                model.encode_image(top, normalize=False).unsqueeze(0),
            )[0]
        names[:5] = [names[place] for place in scores.argsort(descending=True).tolist()]
        firsts.append(names[0] in query["hard_negatives"])
        precisions.append(100 * slow_precision([names.index(each) for each in query["positives"]], 10))
    assert values["mAP@10"] == pytest.approx(fmean(precisions), abs=0.05)
    assert values["HN@1"] == pytest.approx(100 * fmean(firsts), abs=0.05)
    plain = report["measures"]["combiner"]
    assert values["mAP@10"] != plain["mAP@10"]
    composed = {name for name in plain if name.startswith(("two ", "not "))}
    assert {name for name in plain if name not in values} == composed
    assert text_table(report) in done.stdout
    (row,) = (line.split() for line in text_table(report).splitlines() if line.startswith("  loss mAP@10"))
    assert row[-1] == "-"


def test_a_reranked_search_leaves_out_the_reference_too(model: Model) -> None:
    """Also in a gallery that is not larger than the reranked list, where the reference is its last item."""
    ids, images = ["a", "b", "c", "d"], torch.eye(4, model.manifest["dim"])
    second = RerankedTop(LastFirst(), 4)
    searcher = RerankingSearcher(ids, images, Captions(model), ImageOnly(), second)
    assert searcher.search(["a", "b"], ["is red", "is red"]) == [["d", "c", "b"], ["d", "c", "a"]]
    few = RerankingSearcher(ids, images, Captions(model), ImageOnly(), RerankedTop(LastFirst(), 2))
    assert few.search(["a", "b"], ["is red", "is red"]) == [["c", "b", "d"], ["c", "a", "d"]]


class LastFirst(Reranker):
    """Prefers the last image of the identity matrix."""

    def adjustment(self, image: Tensor, text: Tensor, query: Tensor, candidates: Tensor) -> Tensor:
        return (candidates * torch.arange(candidates.shape[-1]).float()).sum(dim=-1) * 10


def test_the_image_alone_keeps_everything_and_gets_nowhere(scored: tuple[dict[str, Any], str]) -> None:
    alone = scored[0]["measures"]["image only"]
    assert (alone["unasked-kept@1"], alone["asked-kept@1"], alone["mAP@1"]) == (100.0, 0.0, 0.0)
    assert alone["mAP-spread@10"] == 0.0


def test_the_job_prints_the_table_and_writes_the_failures(folder: Path, scored: tuple[dict[str, Any], str]) -> None:
    report, printed = scored
    assert text_table(report) in printed
    assert list(report["measures"]) == ["image only", "text only", "sum", "combiner"]
    assert report["exam"]["version"] == 2 and report["counts"]["wordings"] == 54
    assert report["counts"]["negatives"] == 9
    assert report["failures"] and {"query", "caption", "first right", "first answer"} == report["failures"][0].keys()
    with Image.open(folder / "results" / "failures.png") as figure:
        assert figure.width > 800


def test_failures_are_the_queries_whose_first_right_answer_is_last(
    folder: Path, scored: tuple[dict[str, Any], str], model: Model, ranked: Callable[[Tensor], list[str]]
) -> None:
    wordings: list[tuple[int, str, frozenset[str], str]] = []
    for query in lines(folder / "exam" / "triplets.val.jsonl"):
        (feature,) = model.encode_query(picture(folder, query["reference"]), query["captions"][0])
        names = ranked(feature)
        place = 1 + min(names.index(each) for each in query["positives"])
        wordings.append((place, query["query"] + query["captions"][0], frozenset(query["asked"]), *query["aspects"]))
    expected: list[tuple[int, str, frozenset[str], str]] = []
    for wording in sorted(wordings, key=lambda each: -each[0]):
        if [each[3] for each in expected].count(wording[3]) < 2 and wording[2] not in {each[2] for each in expected}:
            expected.append(wording)
    failures = scored[0]["failures"]
    assert [(each["first right"], each["query"] + each["caption"]) for each in failures] == [
        e[:2] for e in expected[:8]
    ]
    assert len({each[3] for each in expected}) > 1 and len(failures) > 2
    assert all(each["first answer"].startswith(("lacks", "loses")) for each in failures)


def test_failures_are_equally_many_of_each_aspect_and_of_different_changes(model: Model) -> None:
    ids = ["a", "b", "c", "d"]
    items = {name: {"colour": "red", "sleeve": "long", "neck": "crew"} for name in ids}
    queries = [
        Query("0", ("a",), ("x",), ("d",), (), {"colour": "blue"}, {}, (aspect,)) for aspect in ("one", "other")
    ] + [
        Query("1", ("a",), ("x",), ("c",), (), {"sleeve": "short"}, {}, ("one",)),
        Query("2", ("a",), ("x",), ("b",), (), {"neck": "scoop"}, {}, ("other",)),
        Query("3", ("a",), ("x",), ("a",), (), {"logo": True}, {}, ("other",)),  # right at once
    ]
    exam = Exam({}, items, tuple(queries), (), ())
    searcher = Searcher(ids, torch.eye(4, model.manifest["dim"]), Captions(model), ImageOnly())
    order = np.tile(np.arange(4), (len(queries), 1))  # so first right answers are at 4, 4, 3, 2 and 1
    pictures = {name: Path(name) for name in ids}
    found = find_failures(searcher, exam, order, pictures, 2)
    assert [(each.query, each.place) for each in found] == [("0", 4), ("2", 2)]
    found = find_failures(searcher, exam, order, pictures, 4)
    assert [(each.query, each.place) for each in found] == [("0", 4), ("1", 3), ("2", 2)]


def test_the_table() -> None:
    report = {
        "measures": {
            "sum": {"mAP@10": 12.345, "HN@1": 1.0, "two mAP@10": 5.0, "not mAP@10": 3.0, "join rounds@1": 4.0}
        },
        "exam": {"version": 7},
        "counts": {"queries": 1, "wordings": 6, "two_references": 1, "negatives": 3, "goals": 2, "gallery": 1234},
    }
    assert text_table(report).splitlines() == [
        "Exam version 7: 1 queries in 6 wordings, 1 of two references, 3 negative, 2 goals of several rounds, "
        "1,234 images",
        "In percent, except rounds@K, the mean number of rounds",
        "                       sum",
        "--------------------------",
        "one reference",
        "  mAP@10             12.35",
        "  HN@1                1.00",
        "two references",
        "  mAP@10              5.00",
        "negative queries",
        "  mAP@10              3.00",
        "rounds, captions joined",
        "  rounds@1            4.00",
    ]


def test_what_is_wrong_with_an_answer() -> None:
    query = Query("q", ("a",), ("x",), ("b",), (), {"colour": "red", "sleeve": "long"}, {"neckline": "crew"})
    assert (
        what_is_wrong(query, {"colour": "red", "sleeve": "short", "neckline": "scoop"})
        == "lacks sleeve, loses neckline"
    )
    assert what_is_wrong(query, {"colour": "red", "sleeve": "long", "neckline": "crew"}) == ""


@pytest.mark.parametrize(
    ("file", "change", "problem"),
    [
        (
            "triplets.val.jsonl",
            {"positives": ["nobody"]},
            "triplets.val.jsonl:1: positives: nobody not in catalog.jsonl",
        ),
        ("triplets.val.jsonl", {"positives": []}, "triplets.val.jsonl:1: positives must be a list of ids"),
        (
            "triplets.val.jsonl",
            {"captions": ["a", "b"]},
            "triplets.val.jsonl:1: a query of an exam has one caption, not 2",
        ),
        ("triplets.val.jsonl", {"asked": "red"}, "triplets.val.jsonl:1: asked must be an object"),
        ("triplets.val.jsonl", {"kept": ["size"]}, "triplets.val.jsonl:1: kept: the reference has no attribute size"),
        ("exam.two_references.jsonl", {"captions": ["a"]}, "exam.two_references.jsonl:1: needs two references, and a"),
        ("exam.negatives.jsonl", {"not": {}}, "exam.negatives.jsonl:1: not: give either a text or an id"),
        ("exam.negatives.jsonl", {"not": {"id": "x"}}, 'exam.negatives.jsonl:1: id "x" is not in catalog.jsonl'),
        ("exam.negatives.jsonl", {"unwanted": "red"}, "exam.negatives.jsonl:1: unwanted must be an object"),
        (
            "exam.negatives.jsonl",
            {"captions": ["a", "b"]},
            "exam.negatives.jsonl:1: a query of an exam has one caption",
        ),
        ("exam.rounds.jsonl", {"start": "x"}, 'exam.rounds.jsonl:1: start "x" is not in catalog.jsonl'),
        ("manifest.json", {"version": "one"}, "is no exam: manifest.json must have a version and a list of attributes"),
    ],
)
def test_a_damaged_exam_is_refused(
    file: str, change: dict[str, Any], problem: str, folder: Path, tmp_path: Path
) -> None:
    for path in (folder / "exam").iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    if file == "manifest.json":
        (tmp_path / file).write_text(json.dumps({**json.loads((tmp_path / file).read_text()), **change}))
    else:
        first, *rest = (tmp_path / file).read_text().splitlines(keepends=True)
        (tmp_path / file).write_text(json.dumps({**json.loads(first), **change}) + "\n" + "".join(rest))
    with pytest.raises(DataError) as caught:
        read_exam(tmp_path)
    assert problem in str(caught.value)


def test_something_to_do_is_needed() -> None:
    done = run_job("exam", "--exam", "x")
    assert done.returncode == 2
    assert "give --catalog DIR to draw the exam, --bundle DIR to score a bundle on it, or both" in done.stderr


def test_drawing_needs_a_demo_catalog(tmp_path: Path) -> None:
    done = run_job("exam", "--catalog", str(tmp_path / "catalog"), "--exam", str(tmp_path / "exam"))
    assert done.returncode == 2 and "is no demo catalog of version 1" in done.stderr


@torch.inference_mode()
def test_an_exam_of_one_reference_needs_no_other_parts(folder: Path, tmp_path: Path) -> None:
    """Without two references, negative queries and rounds the table has the first part only."""
    exam = tmp_path / "exam"
    exam.mkdir()
    for path in (folder / "exam").iterdir():
        (exam / path.name).symlink_to(path)
    for name in ("exam.two_references.jsonl", "exam.negatives.jsonl", "exam.rounds.jsonl"):
        (exam / name).unlink()
        (exam / name).write_text("")
    done = succeed("exam", "--exam", str(exam), "--bundle", str(folder / "bundle"), "--store", str(tmp_path / "store"))
    measures = json.loads(done.stdout.splitlines()[-1])["combiner"]
    assert "mAP@10" in measures and not [name for name in measures if " " in name]
