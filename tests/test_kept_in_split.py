"""asked-kept@K and unasked-kept@K of a split: equal to counting by hand, in the reports of evaluation and training."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cirray.config.data import Data
from cirray.data.attribute_values import comparable_values, read_items
from cirray.data.load import load_dataset
from cirray.data.records import Dataset, Protocol, Split, Triplet
from cirray.data.table import build_table
from cirray.evaluation.attributes_kept import AttributeTable
from cirray.evaluation.cosine import CosineRetriever
from cirray.evaluation.kept_in_split import attribute_table, kept_in_category
from cirray.evaluation.retriever import evaluate
from cirray.storage.location import Location
from tests.support.bundles import write_bundle
from tests.support.data_fixtures import pair, write_fashioniq, write_lines
from tests.support.jobs import succeed
from tests.support.made_items import garments, item
from tests.support.object_store import upload
from tests.support.runs import options, small_settings
from tests.support.small_catalog import write_small_catalog

Values = dict[str, str | bool]
KEPT = ["asked-kept@1", "asked-kept@10", "unasked-kept@1", "unasked-kept@10"]


def oracle(values: dict[str, Values], queries: list[tuple[str, str]], ranked: list[list[str]]) -> dict[str, float]:
    """The measures in percent by loops.

    Args:
        values: item -> attribute -> value; items without values may be missing.
        queries: reference and target of each query.
        ranked: the answers of each query, without an excluded reference.
    """
    found: dict[str, list[float]] = {name: [] for name in KEPT}
    for (reference, target), answers in zip(queries, ranked, strict=True):
        before, after = values.get(reference, {}), values.get(target, {})
        for kind, k in (("asked", 1), ("asked", 10), ("unasked", 1), ("unasked", 10)):
            wanted = [name for name in before if name in after and (before[name] != after[name]) == (kind == "asked")]
            hits = [values.get(answer, {}).get(name) == after[name] for answer in answers[:k] for name in wanted]
            if hits:
                found[f"{kind}-kept@{k}"].append(100 * fmean(hits))
    return {name: fmean(shares) for name, shares in found.items() if shares}


@st.composite
def searches(draw: st.DrawFn) -> tuple[Dataset, dict[str, Values], torch.Tensor, torch.Tensor]:
    """Two categories, items that lack values or all of them, and coarse features, so that scores tie."""
    names = [f"i{number}" for number in range(draw(st.integers(4, 30)))]
    known = st.dictionaries(st.sampled_from(["colour", "sleeve"]), st.sampled_from(["red", "blue"]))
    values = {name: {**draw(known), "logo": draw(st.booleans())} for name in names if draw(st.integers(0, 4))}
    half = draw(st.integers(2, len(names) - 2))
    galleries = {"dress": tuple(names[:half]), "shirt": tuple(names[half:])}
    triplets = []
    for category, gallery in galleries.items():
        for _ in range(draw(st.integers(1, 5))):
            reference, target = draw(st.permutations(gallery))[:2]
            triplets.append(Triplet(reference, ("x",), target, category))
    protocol = Protocol("test", exclude_reference=draw(st.booleans()))
    split = Split("val", tuple(draw(st.permutations(triplets))), galleries)
    dataset = Dataset("test", {name: Path(name) for name in names}, {}, {}, {"val": split}, protocol)
    random = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    images, queries = (torch.randint(-2, 3, (n, 3), generator=random).float() for n in (len(names), len(triplets)))
    return dataset, values, images, queries


def rankings(dataset: Dataset, images: torch.Tensor, queries: torch.Tensor) -> list[list[str]]:
    """Every query's whole ranking in its category; equal scores keep the gallery's order."""
    split, rows, ranked = dataset.splits["val"], list(dataset.images), []
    for triplet, query in zip(split.triplets, queries.tolist(), strict=True):
        scores = {n: sum(a * b for a, b in zip(query, images[rows.index(n)].tolist(), strict=True)) for n in rows}
        names = sorted(split.galleries[triplet.category], key=lambda name: -scores[name])
        excluded = triplet.reference if dataset.protocol.exclude_reference else None
        ranked.append([name for name in names if name != excluded])
    return ranked


@settings(max_examples=200, deadline=None, derandomize=True)
@given(searches())
def test_each_category_equals_counting(search: tuple[Dataset, dict[str, Values], torch.Tensor, torch.Tensor]) -> None:
    dataset, values, images, queries = search
    attributes = AttributeTable.of({name: values.get(name, {}) for name in dataset.images})
    retriever = CosineRetriever(build_table(dataset, "val"), images, queries)
    kept = partial(kept_in_category, retriever, attributes, dataset.protocol)
    found = {result.category: result.metrics for result in evaluate(retriever, dataset.protocol, kept)}
    ranked = rankings(dataset, images, queries)
    expected = {}
    for category in dataset.splits["val"].galleries:
        triplets = dataset.splits["val"].triplets
        mine = [row for row, triplet in enumerate(triplets) if triplet.category == category]
        pairs = [(triplets[row].reference, triplets[row].target or "") for row in mine]
        expected[category] = oracle(values, pairs, [ranked[row] for row in mine])
    in_both = [name for name in KEPT if all(name in each for each in expected.values())]
    expected["average"] = {name: fmean(expected[category][name] for category in ("dress", "shirt")) for name in in_both}
    for category, metrics in found.items():
        assert {name: metrics[name] for name in metrics if "kept" in name} == pytest.approx(expected[category])
    plain = {result.category: result.metrics for result in evaluate(retriever, dataset.protocol)}
    assert plain == {key: {n: v for n, v in row.items() if "kept" not in n} for key, row in found.items()}


def test_texts_and_truth_values_that_items_share_are_compared() -> None:
    items = [
        item(n, "a title", **one.attributes, sku=f"s{n}", split="val", price=float(n % 3), tags=["a", "b"][: 1 + n % 2])
        for n, one in enumerate(garments(40))
    ]
    found = comparable_values(items)
    assert list(found) == [f"i{n}" for n in range(40)]
    expected = {**items[1].attributes}
    del expected["sku"], expected["split"], expected["price"], expected["tags"]  # tags: two values
    assert found["i1"] == expected and set(expected) == {"colour", "sleeve", "logo"}
    assert found["i2"] == {**{name: items[2].attributes[name] for name in expected}, "tags": "a"}
    assert comparable_values([]) == {}


def test_a_fashioniq_folder_with_a_catalog_that_lacks_images(tmp_path: Path, bucket: str) -> None:
    """Queries with an unlisted reference or target are left out; other folders have no attributes."""
    ids = [f"d{n}" for n in range(12)]
    captions = {"dress.val": [pair("d0", "d1", "is red", "has dots"), pair("d2", "d3", "x", "y")]}
    root = tmp_path / "data"
    data = write_fashioniq(root, captions, {"dress.val": ids}, [f"{name}.png" for name in ids])
    dataset = load_dataset(data, Location.parse(tmp_path / "store"), "white", ("val",))
    assert read_items(str(root)) == [] and attribute_table([], dataset) is None

    values: dict[str, Values] = {
        name: {"colour": ["red", "blue"][n % 2], "sleeve": ["long", "short"][n // 6]} for n, name in enumerate(ids)
    }
    del values["d3"]
    lines = [{"id": name, "image": f"images/{name}.png", "split": "val", **values[name]} for name in values]
    write_lines(root / "catalog.jsonl", [*lines, {"id": "elsewhere", "image": "x.png", "colour": "red"}])
    upload(root, f"{bucket}/data")
    items = read_items(str(root))
    assert comparable_values(items) == comparable_values(read_items(f"{bucket}/data"))
    attributes = attribute_table(items, dataset)
    assert attributes is not None and attributes.names == ("colour", "sleeve")
    images = torch.eye(12)
    # The first query finds d1 first. The second one would lower the means.
    retriever = CosineRetriever(build_table(dataset, "val"), images, images[[1, 2]])
    found = kept_in_category(retriever, attributes, dataset.protocol, "dress")
    assert found["asked-kept@1"] == found["unasked-kept@1"] == 100.0
    ranked = rankings(dataset, images, images[[1, 2]])
    assert found == pytest.approx(oracle(values, [("d0", "d1")], ranked[:1]))


# ---------------------------------------------------------------------------------------------------------------------
# the jobs, on a drawn catalog


def values_of(name: str) -> Values:
    """The attributes of a drawing; one of them has no colour."""
    size, colour, shape = name.split("-")
    values: Values = {"shape": shape, "large": size == "large"}
    return values if name == "small-red-bar" else {"colour": colour, **values}


def write_drawings(root: Path, attributes: bool) -> Data:
    """Draws the small catalog, with attributes or without."""
    write_small_catalog(root)
    if attributes:
        lines = [json.loads(line) for line in (root / "catalog.jsonl").read_text().splitlines()]
        write_lines(root / "catalog.jsonl", [{**line, "sku": line["id"], **values_of(line["id"])} for line in lines])
    return Data(format="triplets", root=str(root))


def kept_lines(table: list[str]) -> dict[str, list[str]]:
    """Returns metric -> its value of each method, as printed in the second table."""
    cells = [line.replace("|", " ").split() for line in table if "kept@" in line]
    return {name: values for name, *values in cells}


def test_evaluate_reports_what_the_ranking_files_say(ray_session: None, tmp_path: Path) -> None:
    bundle, store = write_bundle(tmp_path / "bundle"), str(tmp_path / "store")
    reports: dict[str, Any] = {}
    tables = {}
    for name in ("plain", "with"):
        data = write_drawings(tmp_path / name, attributes=name == "with")
        settings_ = {"bundle": str(bundle), "data.format": "triplets", "data.root": data.root, "store": store}
        output = tmp_path / f"{name}-out"
        tables[name] = succeed("evaluate", *options({**settings_, "output": str(output)})).stdout.splitlines()
        reports[name] = json.loads((output / "evaluation.json").read_text())["results"]
    succeed("rank", *options({**settings_, "split": "val", "output": str(tmp_path / "ranks")}))
    ranks = json.loads((tmp_path / "ranks" / "val.ranks.json").read_text())
    triplets = [json.loads(line) for line in (tmp_path / "with" / "triplets.val.jsonl").read_text().splitlines()]

    values = {path.stem: values_of(path.stem) for path in (tmp_path / "with" / "images").iterdir()}
    pairs = [(triplet["reference"], triplet["target"]) for triplet in triplets]
    expected = oracle(values, pairs, [ranks[str(row)] for row in range(len(pairs))])
    assert sorted(expected) == KEPT
    own = reports["with"][-1]["metrics"]
    assert {name: own[name] for name in KEPT} == pytest.approx(expected, abs=1e-4)

    for plain, row in zip(reports["plain"], reports["with"], strict=True):
        assert row == {**plain, "metrics": {**plain["metrics"], **{name: row["metrics"][name] for name in KEPT}}}
        assert set(row["metrics"]) - set(plain["metrics"]) == set(KEPT)
    lines = len(tables["plain"])
    assert tables["with"][:lines] == tables["plain"] and not any("kept@" in line for line in tables["plain"])
    assert {name: cells[-1] for name, cells in kept_lines(tables["with"][lines:]).items()} == {
        name: f"{own[name]:.2f}" for name in KEPT
    }


@pytest.mark.slow
def test_a_training_run_reports_them(ray_session: None, tmp_path: Path) -> None:
    """The first answer to the image alone is the reference, which keeps everything and has nothing that was asked."""
    data = write_drawings(tmp_path / "data", attributes=True)
    off = {f"stage{number}.enabled": "false" for number in range(3)}
    settings_ = {**small_settings(Path(data.root), tmp_path), **off, "output": str(tmp_path / "run")}
    printed = succeed("train", *options(settings_)).stdout
    rows = json.loads((tmp_path / "run" / "report.json").read_text())["results"]
    assert [row["combining"] for row in rows] == ["image only", "text only", "sum"]
    assert all(set(KEPT) <= set(row["metrics"]) and not any("kept" in k for k in row["recall"]) for row in rows)
    assert (rows[0]["metrics"]["asked-kept@1"], rows[0]["metrics"]["unasked-kept@1"]) == (0.0, 100.0)
    expected = {name: [f"{row['metrics'][name]:.2f}" for row in rows] for name in KEPT}
    assert kept_lines(printed.splitlines()) == expected
