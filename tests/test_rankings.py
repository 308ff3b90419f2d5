"""Rankings of any system: read with their annotations, scored, and never guessed at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jobs.score
from cirray.data.records import Protocol, Triplet
from cirray.errors import ConfigError, DataError
from cirray.evaluation.list_scores import ListScores, average_json, score_lists
from cirray.evaluation.ranking_files import Pairs, Rankings, read_pairs, read_rankings
from cirray.evaluation.retriever import Evaluation
from tests.support.data_fixtures import cirr_record, pair, triplet, write_json, write_lines

MEMBERS = ["m0", "m1", "m2", "m3", "m4", "m5"]
CIRR = Protocol("cirr", exclude_reference=True, ks=(1, 2, 5, 10), subset_ks=(1, 2, 3))
KEPT = Protocol("fashioniq", exclude_reference=False, ks=(1, 2, 5, 10))


def cirr_pairs(count: int = 1) -> Pairs:
    """Pair i asks from m0 for m3 within the same six; the gallery has others too."""
    rest = tuple(member for member in MEMBERS if member != "m0")
    return Pairs("cirr", CIRR, {str(i): Triplet("m0", ("x",), "m3", pair_id=str(i), subset=rest) for i in range(count)})


def kept_pairs() -> Pairs:
    return Pairs("fashioniq", KEPT, {"0": Triplet("r", ("x",), "t")})


def scored(pairs: Pairs, *lists: Sequence[str], metric: str = "recall", keep: bool | None = None) -> dict[str, Any]:
    rankings = Rankings({str(i): tuple(names) for i, names in enumerate(lists)}, metric)
    return score_lists(pairs, rankings, keep).to_json()


# ---------------------------------------------------------------------------------------------------------------------
# figures


@st.composite
def systems(draw: st.DrawFn) -> tuple[Pairs, list[list[str]], int]:
    """Full rankings of eight images, the reference among them, and where the lists are cut."""
    gallery = [*MEMBERS, "z0", "z1"]
    count = draw(st.integers(1, 4))
    return cirr_pairs(count), [draw(st.permutations(gallery)) for _ in range(count)], draw(st.integers(0, 8))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(systems())
def test_decided_figures_are_those_of_the_full_ranking_and_bounds_hold(
    system: tuple[Pairs, list[list[str]], int],
) -> None:
    """Whatever is cut off the lists, a figure is the true one or it is not given."""
    pairs, full, cut = system
    rest = [[name for name in names if name != "m0"] for names in full]
    found = scored(pairs, *(names[:cut] for names in full))
    for k in CIRR.ks:
        true = 100 * sum("m3" in names[:k] for names in rest) / len(rest)
        check(found, "recall", f"R@{k}", k, true)
    for k in CIRR.subset_ks:
        sets = [[name for name in names if name in MEMBERS] for names in rest]
        true = 100 * sum("m3" in names[:k] for names in sets) / len(sets)
        check(found, "recall_subset", f"R_subset@{k}", k, true)
    if cut == 8:
        assert found["recall"]["5"] is not None
        assert None not in found["recall_subset"].values()


def check(found: dict[str, Any], kind: str, figure: str, k: int, true: float) -> None:
    value = found[kind][str(k)]
    if value is not None:
        assert value == pytest.approx(true, abs=1e-4)
        assert figure not in found["undecidable"]
    elif kind == "recall" and "image sets only" in " ".join(found["notes"]):
        assert found["undecidable"][figure]
    else:
        least, most = found["undecidable"][figure].split("between ")[1].split(" and ")
        assert float(least) - 0.01 <= true <= float(most) + 0.01
        assert least != most


def test_a_list_that_is_too_short_decides_nothing_it_cannot() -> None:
    missed = [f"z{number}" for number in range(5)]
    found = scored(cirr_pairs(4), ["z0", "m3"], ["z0", "z1", "z2"], missed, missed)
    assert found["recall"] == {"1": 0.0, "2": 25.0, "5": None, "10": None}
    assert found["undecidable"]["R@5"] == (
        "1 of 4 lists end before rank 5 without the target (pair 1 after 3); the value is between 25.00 and 50.00"
    )


def test_the_reference_is_left_out_and_told() -> None:
    found = scored(cirr_pairs(2), ["m0", "m3", "z1"], ["z0", "z1", "m3"])
    assert found["recall"]["1"] == 50.0
    assert found["reference"] == "removed"
    assert found["notes"] == [
        "1 of 2 lists contain their reference (such as pair 0): it was removed before scoring, which makes those lists "
        "shorter"
    ]
    kept = scored(cirr_pairs(2), ["m0", "m3", "z1"], ["z0", "z1", "m3"], keep=True)
    assert (kept["recall"]["1"], kept["recall"]["2"], kept["reference"]) == (0.0, 50.0, "kept")
    assert any("the protocol of cirr removes the reference" in note for note in kept["notes"])


def test_leaving_the_reference_out_makes_a_list_shorter() -> None:
    found = scored(cirr_pairs(), ["z0", "m0"])
    assert found["recall"] == {"1": 0.0, "2": None, "5": None, "10": None}


def test_where_the_reference_is_kept_it_counts() -> None:
    found = scored(kept_pairs(), ["r", "t", "x"])
    assert found["recall"] == {"1": 0.0, "2": 100.0, "5": 100.0, "10": 100.0}
    assert (found["reference"], found["notes"]) == ("kept", [])
    assert "recall_subset" not in found
    removed = scored(kept_pairs(), ["r", "t", "x"], keep=False)
    assert removed["recall"]["1"] == 100.0
    assert any("the protocol of fashioniq keeps the reference" in note for note in removed["notes"])


def test_a_reference_that_was_removed_where_it_should_be_kept_is_suspected() -> None:
    assert "no list contains its reference" in scored(kept_pairs(), ["t", "x"])["notes"][0]


@pytest.mark.parametrize("metric", ["recall", "recall_subset"])
def test_lists_of_image_sets_decide_nothing_of_the_gallery(metric: str) -> None:
    found = scored(cirr_pairs(), ["m3", "m1", "m2"], metric=metric)
    assert set(found["recall"].values()) == {None}
    assert found["recall_subset"] == {"1": 100.0, "2": 100.0, "3": 100.0}
    assert "image sets only" in found["notes"][0]


def test_a_target_that_three_others_precede_is_a_miss() -> None:
    found = scored(cirr_pairs(), ["m1", "m2", "m4", "m5"], metric="recall_subset")
    assert found["recall_subset"] == {"1": 0.0, "2": 0.0, "3": 0.0}
    found = scored(cirr_pairs(), ["m1"], metric="recall_subset")
    assert found["recall_subset"] == {"1": 0.0, "2": None, "3": None}


def test_names_written_otherwise_are_suspected() -> None:
    found = scored(cirr_pairs(), [f"./dev/{name}.png" for name in MEMBERS])
    assert (
        "check that names are written as in the annotations; pair 0 lists './dev/m0.png' first, and its target is 'm3'"
        in (found["notes"][-1])
    )


def test_the_average_over_files() -> None:
    one = Evaluation("all", 2, 90, {"R@10": 10.0, "R@50": 40.0}, {})
    two = Evaluation("all", 8, 90, {"R@10": 20.0}, {"R@50": (30.0, 50.0)})
    found = average_json([ListScores("fashioniq", True, one, {}, []), ListScores("fashioniq", True, two, {}, [])])
    values: dict[str, Any] = {"recall": {"10": 15.0, "50": None}, "metrics": {"R@10": 15.0, "R@50": None}}
    assert found == {"queries": 10, **values}


# ---------------------------------------------------------------------------------------------------------------------
# files


def test_annotations_of_each_dataset_are_told_apart(tmp_path: Path) -> None:
    records = [cirr_record(7, "m0", "m3", MEMBERS), cirr_record(9, "m1", "m2", MEMBERS)]
    pairs = read_pairs(write_json(tmp_path / "cap.rc2.val.json", records))
    assert (pairs.dataset, list(pairs.triplets)) == ("cirr", ["7", "9"])
    assert pairs.triplets["9"].subset == ("m0", "m2", "m3", "m4", "m5")
    assert pairs.protocol.exclude_reference
    pairs = read_pairs(write_json(tmp_path / "cap.dress.val.json", [pair("a", "b", "x"), pair("c", "a", "y")]))
    assert (pairs.dataset, [t.target for t in pairs.triplets.values()]) == ("fashioniq", ["b", "a"])
    pairs = read_pairs(write_lines(tmp_path / "t.jsonl", [triplet("p0", "p1"), "", triplet("p2", "p3")]))
    assert (pairs.dataset, list(pairs.triplets)) == ("triplets", ["0", "1"])
    assert not pairs.protocol.exclude_reference


def test_both_layouts_of_rankings(tmp_path: Path) -> None:
    pairs = read_pairs(write_json(tmp_path / "cap.json", [pair("a", "b", "x"), pair("c", "a", "y")]))
    plain = write_json(tmp_path / "plain.json", {"version": "rc2", "metric": "recall", "0": ["b"], "1": ["z", "a"]})
    challenge = [{"candidate": "a", "ranking": ["b"]}, {"candidate": "c", "ranking": ["z", "a"]}]
    expected = Rankings({"0": ("b",), "1": ("z", "a")}, "recall")
    assert read_rankings(plain, pairs) == expected
    assert read_rankings(write_json(tmp_path / "challenge.json", challenge), pairs) == expected
    subset = write_json(tmp_path / "subset.json", {"metric": "recall_subset", "0": ["b"], "1": ["a"]})
    assert read_rankings(subset, pairs).metric == "recall_subset"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"0": ["b"]}, "1 of 2 pairs: have no ranking, such as pair 1"),
        ({"0": ["b"], "1": ["a"], "5": []}, "1 of 3 rankings: are of pairs without annotation, such as '5'"),
        ({"0": ["b"], "1": ["a", "z", "z"]}, "pair 1: 'z' is listed twice"),
        ({"0": ["b"], "1": "a"}, "pair 1: its ranking must be a list of image names"),
        ({"0": ["b"], "1": [3]}, "pair 1: its ranking must be a list of image names"),
        (
            [{"candidate": "c", "ranking": ["b"]}, {"candidate": "a", "ranking": ["b"]}],
            "entry 0: candidate must be 'a', as in the annotation with this index",
        ),
        ("text", "rankings are one JSON object"),
    ],
)
def test_wrong_rankings_are_told(content: Any, message: str, tmp_path: Path) -> None:
    pairs = read_pairs(write_json(tmp_path / "cap.json", [pair("a", "b", "x"), pair("c", "a", "y")]))
    with pytest.raises(DataError) as caught:
        read_rankings(write_json(tmp_path / "ranks.json", content), pairs)
    assert message in str(caught.value)


def test_missing_rankings_are_told_once(tmp_path: Path) -> None:
    pairs = read_pairs(write_json(tmp_path / "cap.json", [pair("a", "b", "x")]))
    with pytest.raises(DataError, match="1 problem in"):
        read_rankings(tmp_path / "nowhere.json", pairs)


def test_wrong_annotations_are_told(tmp_path: Path) -> None:
    def refused(path: Path, message: str) -> None:
        with pytest.raises(DataError) as caught:
            read_pairs(path)
        assert message in str(caught.value)

    refused(tmp_path / "nowhere.json", "nowhere.json: the file is missing")
    refused(tmp_path / "nowhere.json", "1 problem in")
    refused(write_json(tmp_path / "ranks.json", {"0": ["b"]}), "is not an annotation file")
    refused(write_json(tmp_path / "list.json", [{"x": 1}]), "is not an annotation file")
    refused(
        write_json(tmp_path / "cap.json", [pair("a", None, "x"), pair("c", "a", "y")]), "1 of 2 pairs have no target"
    )
    refused(write_json(tmp_path / "cap2.json", [pair("a", "b", "x"), pair("", "a", "y")]), "every pair is scored")


def score(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    jobs.score.run(arguments)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {}
    for name, ranking in (("dress", ["a", "b"]), ("shirt", ["b", "a"])):
        files[name] = str(write_json(tmp_path / f"cap.{name}.json", [pair("a", "b", "x")]))
        files[f"{name} ranks"] = str(write_json(tmp_path / f"{name}.json", {"0": ranking}))
    found = score(capsys, "--ranks", files["dress ranks"], "--annotations", files["dress"])
    assert (found["dataset"], found["recall"]["1"], found["recall"]["5"]) == ("fashioniq", 0.0, 100.0)
    found = score(capsys, "--ranks", files["dress ranks"], "--annotations", files["dress"], "--keep-reference", "false")
    assert found["recall"]["1"] == 100.0
    several = ["--ranks", f"[{files['dress ranks']}, {files['shirt ranks']}]"]
    found = score(capsys, *several, "--annotations", f"[{files['dress']}, {files['shirt']}]")
    assert found["average"]["recall"]["1"] == 50.0
    assert [part["recall"]["1"] for part in found["files"]] == [0.0, 100.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--ranks FILE is missing"),
        (("--ranks", "x"), "--annotations FILE is missing"),
        (("--ranks", "[x, y]", "--annotations", "z"), "--ranks has 2 files and --annotations 1"),
        (
            ("--ranks", "x", "--annotations", "z", "--keep-reference", "5"),
            "--keep-reference: input should be a valid boolean",
        ),
        (("--rank", "x"), "no option is named --rank. Did you mean --ranks?"),
    ],
)
def test_the_job_refuses(arguments: Sequence[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        jobs.score.run(arguments)
