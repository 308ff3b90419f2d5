"""What each command takes: its options, its help, and what it makes of files that other commands wrote."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from cirray.config.command import Command
from cirray.config.command_line import parse
from cirray.config.commands import COMMANDS, DemoConfig
from cirray.config.fields import field_names, fields, leaves, mapping_names, put
from cirray.config.help import help_text, value_text
from cirray.config.indexing import IndexConfig, Indexing, IndexShape
from cirray.config.options import check_values, kind_of
from cirray.config.recipe import load_recipe, overridden, recipe_names
from cirray.config.section import Configuration, Section
from cirray.config.serving import ServeConfig
from cirray.config.training import TrainConfig
from cirray.config.tuning import TuneConfig
from cirray.config.unknown import as_option
from cirray.errors import ConfigError, RunError
from cirray.index.backend import Generation
from cirray.training.run_dir import open_output

JOBS = Path(__file__).parents[1] / "jobs"
ROW = re.compile(r"^  --(?P<name>\S+)(?: (?P<kind>[A-Z]+))? +(?P<default>'.*?'|\[.*?\]|\S+) {2,}\S")
EVERY_FIELD = {name for root in COMMANDS.values() for name in field_names(root)}


def commands() -> dict[str, Command[Any, Any]]:
    """Every command by its name; jobs/convert.py has two."""
    found: dict[str, Command[Any, Any]] = {"python -m serve": importlib.import_module("serve.__main__").COMMAND}
    for path in sorted(JOBS.glob("[a-z]*.py")):
        module = importlib.import_module(f"jobs.{path.stem}")
        if path.stem == "convert":
            found |= {"jobs/convert.py import": module.IMPORT, "jobs/convert.py export": module.EXPORT}
        else:
            found[f"jobs/{path.stem}.py"] = module.COMMAND
    return found


ALL = commands()
every_command = pytest.mark.parametrize("command", ALL.values(), ids=ALL.keys())


def shown(command: Command[Any, Any], *argv: str) -> dict[str, str]:
    """Returns option -> default, as the help of a command shows them."""
    rows: dict[str, str] = {}
    for line in help_text(command, argv).splitlines():
        found = ROW.match(line)
        if found:
            assert found["name"] not in rows, f"--{found['name']} is there twice"
            rows[found["name"].replace("-", "_")] = found["default"]
    return rows


def used(command: Command[Any, Any], argv: Sequence[str]) -> dict[str, Any]:
    """Returns option -> value, as the command uses them."""
    options, config = command.read(argv)
    values = {name: {} for name in mapping_names(type(config))} | dict(leaves(config.model_dump()))
    short = {name: values[dotted] for name, dotted in command.short.items()}
    return {**{name: values[name] for name in command.field_names}, **short, **options.model_dump()}


def required(command: Command[Any, Any]) -> dict[str, str]:
    """Returns an argument for each required option of a command."""
    values: dict[str, str] = {}
    for name, info in command.options.model_fields.items():
        if info.is_required():
            values[name] = "5" if kind_of(info) in ("N", "X") else kind_of(info)
    return values | ({"recipe": "default"} if "recipe" in values else {})


def argv_of(values: dict[str, str]) -> list[str]:
    return [part for name, value in values.items() for part in (as_option(name), value)]


def test_the_table_of_commands_is_that_of_the_scripts() -> None:
    configured = {
        name.removesuffix(" import"): command.config
        for name, command in ALL.items()
        if command.config is not Configuration
    }
    assert configured == COMMANDS


@every_command
def test_help_shows_the_values_that_are_used(command: Command[Any, Any]) -> None:
    needed = required(command)
    actual = used(command, argv_of(needed))
    rows = shown(command)
    assert rows.keys() == actual.keys()
    for name, text in rows.items():
        if name in needed:
            assert text == "required"
        else:
            read_back: Any = {"''": "", "{}": {}}[text] if text in ("''", "{}") else parse([f"--{name}={text}"])[name]
            assert read_back == json.loads(json.dumps(actual[name])), name


@pytest.mark.parametrize("recipe", recipe_names())
@pytest.mark.parametrize("name", [name for name, command in ALL.items() if "recipe" in command.options.model_fields])
def test_help_shows_the_values_of_the_recipe(name: str, recipe: str) -> None:
    command = ALL[name]
    text = help_text(command, ["--recipe", recipe])
    assert f"Configuration, with {'its defaults' if recipe == 'default' else f'the values of recipe {recipe}'}" in text
    needed = {**required(command), "recipe": recipe}
    actual = used(command, argv_of(needed))
    rows = shown(command, "--recipe", recipe)
    assert actual["recipe"] == recipe
    assert {rows.pop(name) for name in needed} <= {"required", "null"}
    assert rows == {name: value_text(value) for name, value in actual.items() if name not in needed}


def test_the_defaults_of_stages_are_their_own() -> None:
    rows = shown(ALL["jobs/train.py"])
    stage2 = {leaf: rows[f"stage2.optimisation.{leaf}"] for leaf in ("optimizer", "lr", "batch_size")}
    assert stage2 == {"optimizer": "adam", "lr": "2e-05", "batch_size": "4096"}
    assert (rows["stage0.optimisation.lr"], rows["stage0.loss.temperature"]) == ("0.001", "0.07")


@every_command
def test_a_command_takes_what_its_help_lists_and_nothing_else(command: Command[Any, Any]) -> None:
    rows = shown(command)
    for name, default in rows.items():
        value = required(command).get(name, default)
        own, dotted = command.split(parse([f"{as_option(name)}={value}"]))
        assert [*own, *dotted] == [command.short.get(name, name)]
    for name in EVERY_FIELD - rows.keys():
        with pytest.raises(ConfigError, match=re.escape(as_option(name))):
            command.read(argv_of({**required(command), name: "1"}))


def test_a_given_value_is_the_one_that_is_used() -> None:
    _, config = ALL["jobs/index.py"].read(["--index.hnsw.m", "7", "--max-bad", "0.5"])
    assert (config.index.hnsw.m, config.index.max_bad, config.index.hnsw.ef_search) == (7, 0.5, 128)
    _, config = ALL["jobs/tune.py"].read(["--recipe", "tiny", "--budget", "2m", "--workers-per-trial", "2"])
    assert (config.tune.seconds, config.tune.workers_per_trial) == (120.0, 2)
    _, config = ALL["jobs/demo.py"].read(["--output", "made", "--store", "elsewhere"])
    assert (config.output, config.store, config.index.path) == ("made/training", "elsewhere", "made/index")
    with pytest.raises(ConfigError, match=r"--index\.max-bad is given twice"):
        ALL["jobs/index.py"].read(["--max-bad", "0.5", "--index.max_bad", "0.6"])


@every_command
def test_help_fits_the_screen(command: Command[Any, Any]) -> None:
    lines = help_text(command).splitlines()
    assert max(len(line) for line in lines) <= 120
    if command.config is IndexConfig:
        assert len(lines) <= 75
    if command.config is Configuration:
        assert "Configuration" not in lines


@every_command
def test_every_option_is_described(command: Command[Any, Any]) -> None:
    found = [*command.options.model_fields.items(), *((field.name, field.info) for field in fields(command.config()))]
    assert not [name for name, info in found if not (info.description or "").strip()]


def test_every_section_is_described() -> None:
    """Its docstring heads its fields in the help."""

    def sections(section: Section) -> Iterator[Section]:
        yield section
        for name in type(section).model_fields:
            if isinstance(value := getattr(section, name), Section):
                yield from sections(value)

    for root in COMMANDS.values():
        for section in sections(root()):
            assert "__doc__" in vars(type(section)) and (type(section).__doc__ or "").strip(), type(section)


@pytest.mark.parametrize(
    ("name", "argv", "hint"),
    [
        ("jobs/index.py", ["--catalogue", "x"], "no option is named --catalogue. Did you mean --catalog?"),
        ("jobs/feedback.py", ["--catalogue", "x"], "no option is named --catalogue. Did you mean --catalog?"),
        ("jobs/index.py", ["--maxbad", "1"], "Did you mean --max-bad?"),
        ("jobs/index.py", ["--index.hnsw.ef-serch", "1"], "Did you mean --index.hnsw.ef-search?"),
        ("jobs/index.py", ["--serve.collection", "x"], "for python -m serve only. Did you mean --index.collection?"),
        (
            "jobs/index.py",
            ["--seed", "1"],
            "--seed is for jobs/train.py, jobs/tune.py, jobs/ablate.py, jobs/triplets.py, jobs/demo.py",
        ),
        ("jobs/train.py", ["--recipie", "x"], "no option is named --recipie. Did you mean --recipe?"),
        ("jobs/tune.py", ["--recipie", "x"], "no option is named --recipie. Did you mean --recipe?"),
        ("jobs/ablate.py", ["--recipie", "x"], "no option is named --recipie. Did you mean --recipe?"),
        ("jobs/ablate.py", ["--change", "x"], "Did you mean --changes?"),
        (
            "jobs/train.py",
            ["--recipe", "x", "--index.path", "x"],
            "--index.path is for jobs/index.py, jobs/demo.py",
        ),
        ("jobs/train.py", ["--recipe", "x", "--tune", "1"], "--tune is for jobs/tune.py, jobs/ablate.py only"),
        ("jobs/tune.py", ["--bugdet", "1m"], "Did you mean --budget?"),
        ("jobs/evaluate.py", ["--bundel", "x"], "Did you mean --bundle?"),
        ("jobs/rank.py", ["--data", "x"], "--data is a section, not a field: give one of its fields, such as --data."),
        ("jobs/analyze.py", ["--spilt", "x"], "Did you mean --split?"),
        ("jobs/convert.py import", ["--combinr", "x"], "Did you mean --combiner?"),
        ("jobs/score.py", ["--keep-refrence"], "Did you mean --keep-reference?"),
        ("python -m serve", ["--port", "1"], "Did you mean --serve.port?"),
        ("python -m serve", ["--zzzz", "1"], "no option is named --zzzz. See --help"),
    ],
)
def test_a_wrong_option_names_the_nearest(name: str, argv: list[str], hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ALL[name].read(argv)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("name", "argv", "said"),
    [
        ("jobs/train.py", ["--seed", "1"], f"--recipe NAME is missing: one of {', '.join(recipe_names())}, or a"),
        ("jobs/evaluate.py", ["--split", "val"], "--bundle DIR is missing: the bundle folder of a finished training"),
        (
            "jobs/rank.py",
            ["--bundle", "x", "--top", "0"],
            "--top: input should be greater than or equal to 1",
        ),
        ("jobs/demo.py", ["--seed", "1"], "--output DIR is missing: folder for all outputs of the demo"),
        ("jobs/feedback.py", [], "--feedback DIR is missing"),
        ("jobs/index.py", ["--publish"], "--publish: input should be a valid string (given: True)"),
    ],
)
def test_missing_and_wrong_options_are_named(name: str, argv: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ALL[name].read(argv)
    assert said in str(caught.value)


def test_a_folder_may_have_a_number_for_a_name() -> None:
    options, _ = ALL["jobs/evaluate.py"].read(["--bundle", "2024"])
    assert options.bundle == "2024"


# --- files -------------------------------------------------------------------------------------------------------

FORMER = {"loss": "contrast", "dropout_text_weight": "dropout_balance"}


def former_run(config: Configuration) -> dict[str, Any]:
    """Returns a config.yaml of the version before: every section of every command, and former field names."""
    whole: dict[str, Any] = {}
    for root in (TuneConfig, DemoConfig, ServeConfig):
        for dotted, value in leaves(root().model_dump(mode="json")):
            put(whole, dotted, value)
    for dotted, value in leaves(config.model_dump(mode="json")):
        put(whole, dotted, value)
    former: dict[str, Any] = {}
    for dotted, value in leaves(whole):
        put(former, ".".join(FORMER.get(part, part) for part in dotted.split(".")), value)
    former["tune"]["sweep"] = "stage2.contrast.temperature"
    del former["stage3"]  # there was none
    return former


@pytest.fixture
def former_file(tmp_path: Path) -> Path:
    changed = {"output": str(tmp_path / "run"), "stage2.loss.temperature": 0.25, "workers": 2}
    content = former_run(load_recipe(TrainConfig, "tiny", changed))
    content["stage2"]["combining"]["dropout_balance"] = 0.125
    assert "contrast" in content["stage1"] and "serve" in content
    path = tmp_path / "run" / "config.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("root", dict.fromkeys(COMMANDS.values()), ids=lambda root: root.__name__)
def test_a_former_runs_configuration_loads_for_every_command(root: type[Configuration], former_file: Path) -> None:
    config = load_recipe(root, str(former_file))
    dump = config.model_dump()
    if isinstance(config, TrainConfig):
        assert (config.stage2.loss.temperature, config.stage2.combining.dropout_text_weight) == (0.25, 0.125)
        assert config.stage1 == load_recipe(TrainConfig, "tiny").stage1
        assert config.recipe == "tiny"
        assert not config.stage3.enabled
    if isinstance(config, TuneConfig):
        assert config.tune.sweep == "stage2.loss.temperature"
    assert dump.get("workers", 2) == 2
    assert dump.keys() == root.model_fields.keys()


def test_an_unknown_field_of_a_file_is_refused_by_every_command(former_file: Path) -> None:
    former_file.write_text(former_file.read_text(encoding="utf-8") + "wrokers: 3\n", encoding="utf-8")
    for root in COMMANDS.values():
        with pytest.raises(ConfigError, match="no configuration field is named wrokers"):
            load_recipe(root, str(former_file))


def test_former_names_in_a_recipe_replace_those_that_it_extends(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: tiny\nstage2: {contrast: {temperature: 0.25}}\n", encoding="utf-8")
    loss = load_recipe(TrainConfig, str(path)).stage2.loss
    assert (loss.temperature, loss.hard) == (0.25, load_recipe(TrainConfig, "tiny").stage2.loss.hard)
    assert loss.hard > 0


def test_a_field_of_another_command_is_refused_on_the_command_line() -> None:
    with pytest.raises(ConfigError, match=r"^serve\.port is for python -m serve only\."):
        load_recipe(TrainConfig, "default", {"serve.port": 1})


def test_a_former_run_is_continued_and_differences_are_named(former_file: Path) -> None:
    settings = {"stage2.loss.temperature": 0.25, "stage2.combining.dropout_text_weight": 0.125, "workers": 1}
    config = load_recipe(TrainConfig, "tiny", {"output": str(former_file.parent), **settings})
    assert open_output(config).local == former_file.parent
    with pytest.raises(RunError, match=r"stage2\.loss\.temperature: 0\.25 in the run, 0\.5 now") as caught:
        open_output(overridden(config, {"stage2.loss.temperature": 0.5}))
    assert "serve" not in str(caught.value) and "contrast" not in str(caught.value)


def test_one_field_of_a_section_leaves_its_other_defaults() -> None:
    default = TrainConfig().stage2.optimisation
    found = load_recipe(TrainConfig, "default", {"stage2.optimisation.lr": 0.5}).stage2.optimisation
    assert found == default.model_copy(update={"lr": 0.5})


def test_a_manifest_holds_what_shaped_the_index_and_old_ones_load() -> None:
    settings = Indexing(path="somewhere", timeout_s=3.0, quantization="int8", hnsw={"m": 5}, filters=("price",))
    plan: dict[str, Any] = {"name": "a", "image_fingerprint": "ab", "dim": 2}
    written = Generation(**plan, settings=settings.shape()).model_dump(mode="json")
    assert written["settings"].keys() == {"hnsw", "quantization", "oversampling"}
    former = {**written, "settings": settings.model_dump(mode="json")}
    assert {"path", "timeout_s", "attempts", "max_bad"} <= former["settings"].keys()
    assert Generation.model_validate(former) == Generation.model_validate(written)
    assert Generation.model_validate(former).settings == settings.shape()
    assert isinstance(settings.shape(), IndexShape) and not isinstance(settings.shape(), Indexing)


def test_options_without_a_default_are_all_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        check_values(ALL["jobs/score.py"].options, {})
    assert "--ranks FILE is missing" in str(caught.value) and "--annotations FILE is missing" in str(caught.value)


def test_documented_commands_take_their_options() -> None:
    """Every command line of the docs, the Makefile and the examples in scripts names options that exist."""
    root = Path(__file__).parents[1]
    files = [root / "README.md", root / "Makefile", *sorted((root / "docs").glob("*.md")), *sorted(JOBS.glob("*.py"))]
    checked = 0
    for file in files:
        text = file.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            found = re.search(r"python (jobs/(\w+)\.py(?: (?:import|export))?|-m serve)( [^`#]*)", line)
            if not found:
                continue
            name = found[1] if found[1] != "-m serve" else "python -m serve"
            command = ALL[name if name != "jobs/convert.py" else "jobs/convert.py import"]
            for option in re.findall(r"(?<=[ \[])--([a-z][a-z0-9._-]*)", found[3]):
                if option in ("help", "any.field"):
                    continue
                command.split({option.replace("-", "_"): 1})
                checked += 1
    assert checked > 60
