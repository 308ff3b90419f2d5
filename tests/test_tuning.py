"""Search spaces, the selection split, and the results of trials."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cirray.config.recipe import load_recipe, overridden
from cirray.config.registry import COMBINING_FUNCTIONS
from cirray.config.tuning import TuneConfig
from cirray.data.holdout import SELECTION, hold_back
from cirray.data.records import Dataset, Protocol, Split, Triplet
from cirray.errors import ConfigError
from cirray.storage.location import Location
from tuning.ablation import load_changes
from tuning.budget import Budget
from tuning.outcome import Candidate, candidates, finalists, table
from tuning.plots import Sweep, draw_report, importance
from tuning.report import write_best, write_html, write_results
from tuning.run import resolve_config, tune
from tuning.search import Trial
from tuning.space import load_space, space_names
from tuning.watch import Watch

LR, TEMPERATURE = "stage2.optimisation.lr", "stage2.loss.temperature"


def config(**changes: Any) -> TuneConfig:
    return load_recipe(
        TuneConfig, "tiny", {"tune.trials": 4, **{name.replace("__", "."): value for name, value in changes.items()}}
    )


def write_space(folder: Path, text: str) -> str:
    (folder / "space.yaml").write_text(text, encoding="utf-8")
    return str(folder / "space.yaml")


@pytest.mark.parametrize("name", space_names())
def test_every_space_fits_the_configuration(name: str) -> None:
    stage = "stage1" if name == "stage1" else "stage2"
    space = load_space(name, config(tune__stage=stage))
    assert set(space.distributions()) == set(space.domains)
    for field, domain in space.domains.items():
        for value in domain.points(5):
            assert domain.holds(value)
            overridden(config(), {field: value})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stage2.optimisation.learning_rate: {uniform: [0, 1]}", r"Did you mean stage2\.optimisation\.lr"),
        ("stage2.optimizer.lr: {uniform: [0, 1]}", r"Did you mean stage2\.optimisation\.lr"),
        ("stage1.optimisation.lr: {uniform: [0.1, 1]}", "is not of stage2"),
        ("stage2.optimisation.lr: {gauss: [0, 1]}", "must be one of choice, uniform"),
        ("stage2.optimisation.lr: {uniform: [1, 0]}", "the lower one first"),
        ("stage2.optimisation.lr: {loguniform: [0, 1]}", "numbers above 0"),
        ("stage2.optimisation.lr: {choice: [0.1]}", "two or more values"),
        ("stage2.optimisation.lr: {choice: [0.1, fast]}", r"stage2\.optimisation\.lr: .*number"),
        ("stage2.combining.dropout_output: {uniform: [0, 1.5]}", r"stage2\.combining\.dropout_output"),
        ("[1, 2]", "must be a mapping"),
        ("{", "is not YAML"),
    ],
)
def test_invalid_spaces_fail_before_anything_starts(tmp_path: Path, text: str, said: str) -> None:
    wanted = config(tune__space=write_space(tmp_path, text), output=str(tmp_path / "out"), data__root="nowhere")
    with pytest.raises(ConfigError, match=said):
        tune(wanted)
    assert not (tmp_path / "out").exists()


def test_a_search_wants_an_end_and_holds_triplets_back() -> None:
    with pytest.raises(ConfigError, match="--budget 10m or --trials N"):
        resolve_config(config(tune__trials=0))
    settled = resolve_config(config(tune__budget="10m"))
    assert (settled.tune.seconds, settled.data.holdout, settled.stage2.optimisation.validate_every) == (600, 0.15, 1)
    assert resolve_config(config(data__holdout=0.3)).data.holdout == 0.3
    with pytest.raises(ConfigError, match=r"tune\.budget"):
        config(tune__budget="soon")


def dataset(pairs: list[tuple[int, int]]) -> Dataset:
    triplets = tuple(Triplet(str(a), ("x",), str(b)) for a, b in pairs)
    train = Split("train", triplets, {"all": tuple(str(n) for n in range(100))})
    return Dataset("test", {}, {}, {}, {"train": train, "val": train}, Protocol("test", False))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=20, max_size=80),
    st.floats(0.1, 0.5),
    st.integers(0, 99),
)
def test_what_is_held_back_shares_no_reference_with_what_is_trained_on(
    pairs: list[tuple[int, int]], share: float, seed: int
) -> None:
    data = dataset(pairs)
    try:
        parts = hold_back(data, share, seed).splits
    except ConfigError:
        return  # too few groups
    train, held = parts["train"].triplets, parts[SELECTION].triplets
    assert sorted([*train, *held], key=repr) == sorted(data.splits["train"].triplets, key=repr)
    assert not {triplet.reference for triplet in train} & {triplet.reference for triplet in held}
    assert parts["val"] is data.splits["val"]
    assert parts[SELECTION].galleries == data.splits["train"].galleries
    assert hold_back(data, share, seed).splits == parts


def test_components_stay_together() -> None:
    pairs = [(10 * group + a, 10 * group + a + 1) for group in range(10) for a in range(4)]
    parts = hold_back(dataset(pairs), 0.2, 0).splits
    groups = [
        {int(name) // 10 for t in parts[part].triplets for name in (t.reference, t.target or "0")} for part in parts
    ]
    train, _, held = groups
    assert not train & held
    assert len(held) == 2


@pytest.mark.parametrize("seed", range(5))
def test_every_category_gives_its_share(seed: int) -> None:
    chains = {"dress": range(0, 40), "shirt": range(40, 60), "toptee": range(60, 100)}
    triplets = [
        Triplet(str(a), ("x",), str(min(a + step, rows[-1])), category)
        for category, rows in chains.items()
        for a in rows
        for step in (1, 2)
    ]
    train = Split("train", tuple(triplets), {category: tuple(map(str, rows)) for category, rows in chains.items()})
    parts = hold_back(Dataset("test", {}, {}, {}, {"train": train}, Protocol("test", False)), 0.2, seed).splits
    counts = Counter(triplet.category for triplet in parts[SELECTION].triplets)
    assert counts == {"dress": 16, "shirt": 8, "toptee": 16}
    references = [{triplet.reference for triplet in parts[part].triplets} for part in ("train", SELECTION)]
    assert not references[0] & references[1]


def test_a_category_that_one_side_would_lack_is_named() -> None:
    train = Split(
        "train", (Triplet("1", ("x",), "2", "hat"), *dataset([(a, 0) for a in range(20)]).splits["train"].triplets), {}
    )
    data = Dataset("test", {}, {}, {}, {"train": train}, Protocol("test", False))
    with pytest.raises(ConfigError, match="leaves 0 training and 1 selection triplets of the 1 of category hat"):
        hold_back(data, 0.2, 0)


def trial(name: str, curve: list[float], params: dict[str, Any], full: bool = True, **last: Any) -> Trial:
    points = tuple((number, value) for number, value in enumerate(curve, start=1))
    return Trial(name, params, points, max(curve, default=None), last, full)


def some_trials(count: int = 12) -> list[Trial]:
    found = []
    for number in range(count):
        params = {LR: 1e-4 * (number + 1), TEMPERATURE: 0.01 + 0.02 * number}
        found.append(trial(f"t{number}", [10.0 + number, 20.0 + number], params, full=number % 3 == 0))
    return [*found, trial("broken", [], {LR: 1e-3, TEMPERATURE: 0.1}, full=False)]


def test_finalists_are_the_best_and_each_once() -> None:
    trials = [*some_trials(), trial("again", [99.0], {LR: 1e-4, TEMPERATURE: 0.01})]
    assert finalists(trials, 2) == [{LR: 1e-4, TEMPERATURE: 0.01}, {LR: pytest.approx(12e-4), TEMPERATURE: 0.23}]


def costs(seconds: float) -> dict[str, Any]:
    return {"parameters": 1234567, "seconds": seconds}


def compared() -> list[Candidate]:
    named: dict[str, dict[str, Any]] = {"the recipe": {}, "finalist 1": {LR: 0.002}}
    finals = [
        trial("a", [80.0, 82.0], {"candidate": {}, "seed": 1}, **costs(7.0), **{"val R@1": 10.0, "val R@10": 50.0}),
        trial("b", [80.0], {"candidate": {}, "seed": 0}, **costs(9.0), **{"val R@1": 12.0, "val R@10": 52.0}),
        trial("c", [90.0], {"candidate": {LR: 0.002}, "seed": 0}, **costs(5.0), **{"val R@1": 20.0, "val R@10": 60.0}),
        trial("d", [88.0], {"candidate": {LR: 0.002}, "seed": 1}, **costs(5.0), **{"val R@1": 22.0, "val R@10": 60.0}),
    ]
    return candidates(finals, named)


def test_candidates_are_compared_over_seeds_in_selection_only() -> None:
    recipe, tuned = compared()
    assert (recipe.selection, recipe.reported["val R@1"]) == ((80.0, 82.0), (12.0, 10.0))
    assert (tuned.mean, tuned.name) == (89.0, "finalist 1")
    lines = table([recipe, tuned]).splitlines()
    assert "selection (chosen by)" in lines[0]
    assert "val R@1 (reported)" in lines[0]
    assert "89.00 ± 1.41" in lines[1]
    assert "the recipe" in lines[2]
    assert (recipe.parameters, recipe.seconds) == (1234567, (9.0, 7.0))
    assert lines[0].split()[-2:] == ["parameters", "seconds"]
    assert lines[1].endswith("1,234,567  5.00 ± 0.00")
    assert lines[2].endswith("1,234,567  8.00 ± 1.41")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {stage2.loss.hards: 4}", "Did you mean stage2.loss.hard"),
        ("a: {data.holdout: 0.1}", "only fields of stage1 and stage2 can be changed"),
        ("a: {stage1.enabled: false, stage2.combining.function: sum}", "a leaves nothing to train"),
        ("a: {stage1.enabled: false, stage2.enabled: false}", "a leaves nothing to train"),
        (
            "a: {stage1.blend: 0.5}\nb: {stage1.enabled: false, stage2.combining.function: sum}",
            "b leaves nothing to train",
        ),
        ("a: {stage2.loss.hard: -1}", "stage2.loss.hard"),
        ("a: 3", "must map names to changed fields"),
        ("- a", "must map names to changed fields"),
    ],
)
def test_invalid_changes_fail_before_anything_starts(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "changes.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_changes(str(tmp_path / "changes.yaml"), config())


@pytest.mark.parametrize("name", ["stage1", "stage2"])
def test_bundled_ablations_change_the_recipe(name: str) -> None:
    plain = config(stage2__loss__hard=0)
    for change in load_changes(name, plain).values():
        assert overridden(plain, change) != plain
    load_changes(name, config())


def test_the_combining_functions_are_one_ablation() -> None:
    """Also with a recipe that skips stage 1: the sum has nothing to train, but can be measured."""
    for enabled in (True, False):
        rows = load_changes("combining", config(stage1__enabled=enabled))
        assert rows == {name: {"stage2.combining.function": name} for name in rows}
        assert set(rows) == set(COMBINING_FUNCTIONS)


def test_an_unknown_ablation_is_an_error() -> None:
    with pytest.raises(ConfigError, match="there are combining, stage1, stage2"):
        load_changes("stage3", config())


def test_the_best_is_a_recipe_that_training_takes(tmp_path: Path) -> None:
    settled = resolve_config(config(data__root="somewhere", output=str(tmp_path)))
    write_best(tmp_path / "best.yaml", settled, compared()[1])
    loaded = load_recipe(TuneConfig, str(tmp_path / "best.yaml"), {"output": "other"})
    assert loaded == overridden(settled, {LR: 0.002, "output": "other", "recipe": "tiny-tuned"})


def test_reports_are_written(tmp_path: Path) -> None:
    from pyarrow import parquet

    trials = some_trials()
    text = f"{LR}: {{loguniform: [1.0e-5, 1.0e-1]}}\n{TEMPERATURE}: {{uniform: [0.01, 0.5]}}\n"
    space = load_space(write_space(tmp_path, text), config())
    sweep = [trial(f"s{n}", [30.0 - n], {"candidate": {TEMPERATURE: 0.01 * 2**n}, "seed": 0}) for n in range(4)]
    draw_report(trials, space, 2, Sweep(TEMPERATURE, sweep, None, 0.05), tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes()[:4] == b"\x89PNG"
    write_html(tmp_path / "report.html", tmp_path / "report.png", compared(), {"trials": "<13>"})
    page = (tmp_path / "report.html").read_text()
    assert "&lt;13&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    write_results(tmp_path / "results.parquet", {"search": trials, "sweep": sweep})
    rows = parquet.read_table(tmp_path / "results.parquet").to_pylist()
    assert len(rows) == 17
    assert [row["phase"] for row in rows].count("sweep") == 4
    assert rows[0]["selection"] == 20.0


def test_importance_finds_the_field_that_matters(tmp_path: Path) -> None:
    space = load_space(
        write_space(tmp_path, f"{LR}: {{uniform: [0.01, 0.5]}}\n{TEMPERATURE}: {{uniform: [0.01, 0.5]}}\n"), config()
    )
    spread = [(0.01 + 0.49 * (n % 7) / 6, 0.01 + 0.49 * n / 40) for n in range(40)]
    trials = [trial(str(n), [100 * b], {LR: a, TEMPERATURE: b}) for n, (a, b) in enumerate(spread)]
    found = importance(trials, space, 1)
    assert found[TEMPERATURE] > 5 * found[LR]
    assert importance(trials[:3], space, 1) == {}


def test_the_budget_counts_over_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    first = Budget(60.0, Location.parse(tmp_path))
    now += 40
    assert not first.stop_all()
    function, arguments = first.__reduce__()
    second = function(*arguments)
    now += 15
    assert (second.spent, second.stop_all()) == (55.0, False)
    now += 10
    assert second.stop_all()


class Some:
    """The attributes of a Ray Tune trial that Watch uses."""

    def __init__(self, trial_id: str, finished: bool = False) -> None:
        self.trial_id = trial_id
        self.is_finished = lambda: finished


def test_the_line_shows_the_progress(tmp_path: Path) -> None:
    watch = Watch("search", 4, None)
    watch.on_trial_start(0, [], Some("abc"))
    watch.on_trial_result(0, [], Some("abc"), {"selection": 41.5})
    assert "0 of 4 trials (1 running)  best 41.50 (abc)" in watch.line()
    watch.on_trial_complete(0, [], Some("abc"))
    assert "1 of 4 trials (0 running)" in watch.line()
    assert "ETA" in watch.line()
    assert "0:00 of 10:00" in Watch("search", 0, Budget(600.0, Location.parse(tmp_path))).line()


def test_the_watch_of_a_resumed_search_counts_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    watch = Watch("rows", 6, None)
    now += 7200  # as a pickle does, which keeps what the clock said
    watch.setup()
    trials = [Some("a", finished=True), Some("b", finished=True), Some("c")]
    watch.on_step_begin(0, trials)
    assert "2 of 6 trials (0 running)  no result yet  0:00" in watch.line()
    watch.on_trial_start(0, trials, trials[2])
    now += 60
    watch.on_trial_complete(0, trials, trials[2])
    watch.on_step_begin(1, [Some("a", finished=True), Some("b", finished=True), Some("c", finished=True)])
    assert "3 of 6 trials (0 running)  no result yet  1:00  ETA 3:00" in watch.line()


def test_trials_of_several_workers_want_a_number() -> None:
    with pytest.raises(ConfigError, match="needs --trials N"):
        resolve_config(config(tune__workers_per_trial=2, tune__trials=0, tune__budget="1m"))
