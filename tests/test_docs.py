"""README, CONTRIBUTING, CHANGELOG and docs/: links, files, commands, options and imports that they name exist."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from cirray.config.recipe import recipe_names
from cirray.config.registry import COMBINING_FUNCTIONS
from cirray.config.training import CombiningSettings
from cirray.models.combining import build_combining
from jobs.plan import run as plan
from tests.test_architecture import ROOMS, VISITORS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
JOBS = {f"jobs/{path.stem}.py" for path in (ROOT / "jobs").glob("*.py")} - {"jobs/__init__.py"}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PLACEHOLDER = "NAME"  # part of a file name that stands for any
FOLDERS = ("platform", "jobs", "serve", "tuning", "k8s", "tests", "benchmarks", "docs")
# How the pages start our programs; what follows on the line are their arguments.
COMMAND = re.compile(r"python (jobs/\w+\.py|-m serve)\b([^`#|\n]*)")


@pytest.fixture(params=PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def read(path: Path) -> str:
    """Returns a page with the continued lines of its commands joined."""
    return path.read_text(encoding="utf-8").replace("\\\n", " ")


def prose(path: Path) -> str:
    """Returns a page without its fenced blocks."""
    return FENCE.sub("", read(path))


def blocks(path: Path, language: str) -> list[str]:
    """Returns the fenced blocks of a page in one language."""
    return [text for found, text in FENCE.findall(read(path)) if found == language]


def anchors(path: Path) -> set[str]:
    """Returns the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yields (program, names of its options without dashes) of every command of ours in a text."""
    for program, arguments in COMMAND.findall(text):
        words = shlex.split(arguments.replace("'", " "), comments=False)
        yield program, [word[2:].partition("=")[0] for word in words if re.match(r"--[\w.]", word)]


@cache
def options(program: str) -> frozenset[str]:
    """Returns every option that the --help of a program names, dashes written as underscores."""
    start = [sys.executable, *program.split()]
    shown = subprocess.run([*start, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout
    return frozenset(name.replace("-", "_") for name in re.findall(r"--([\w.][\w.-]*\w)", shown)) | {"help"}


def is_known(option: str, known: frozenset[str]) -> bool:
    """Whether an option is known; `index.hnsw.*` stands for a section."""
    name = option.replace("-", "_").rstrip(".")
    mapped = name.rpartition(".")[0]  # an entry of a mapping: catalog.columns.id
    return {name, mapped} & known != set() or any(
        other.startswith(name.removesuffix("*")) for other in known if name.endswith("*")
    )


def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name} links to {target}, which does not exist"
        assert not anchor or anchor in anchors(path), f"{page.name} links to {target}: no such heading"


def test_named_files_exist(page: Path) -> None:
    for name in re.findall(r"`([\w./*-]+)`", prose(page)):
        if name.split("/")[0] in FOLDERS and "/" in name and PLACEHOLDER not in name:
            assert list(ROOT.glob(name.rstrip("/"))), f"{page.name} names {name}, which does not exist"


def test_named_tests_exist(page: Path) -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    for name in re.findall(r"\btest_\w+\.py\b", read(page)):
        assert name in sources or PLACEHOLDER in name, f"{page.name} names {name}, which does not exist"
    for name in re.findall(r"`(test_\w+)(?:\.\.\.)?`", read(page)):
        found = any(f"def {name}" in source for source in sources.values())
        assert found, f"{page.name} names the test {name}, which does not exist"


def test_commands_name_jobs_that_exist(page: Path) -> None:
    for job in re.findall(r"\bjobs/\w+\.py\b", read(page)):
        assert job in JOBS, f"{page.name} names {job}, which does not exist"


def test_commands_use_options_that_exist(page: Path) -> None:
    for program, used in commands(read(page)):
        known = options(program)
        for option in used:
            assert is_known(option, known), f"{page.name}: {program} has no option --{option}"


def test_dotted_options_in_sentences_exist(page: Path) -> None:
    known = frozenset().union(*(options(program) for program in [*JOBS, "-m serve"]))
    for option in re.findall(r"`--([a-z]\w*\.[\w.*-]+)", prose(page)):
        assert is_known(option, known), f"{page.name}: no command has an option --{option}"


def test_python_examples_import_what_exists(page: Path) -> None:
    for source in blocks(page, "python"):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                assert all(importlib.import_module(alias.name) for alias in node.names)
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names), f"{page.name}: {ast.unparse(node)}"


def test_every_page_is_listed() -> None:
    listed = set(LINK.findall((DOCS / "README.md").read_text(encoding="utf-8")))
    assert {path.name for path in DOCS.glob("*.md")} - {"README.md"} <= listed


def test_the_architecture_page_has_the_table_of_rooms() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == ROOMS
    assert all(f"`{visitor}`" in text for visitor in VISITORS)


def test_the_training_page_lists_every_recipe() -> None:
    text = (DOCS / "training.md").read_text(encoding="utf-8")
    table = text[text.index("## Recipes") : text.index("## Resume")]
    assert sorted(re.findall(r"`([a-z0-9-]+)`(?=[^|\n]*\|.*\|)", table)) == recipe_names()


def test_the_training_page_lists_every_combining_function() -> None:
    text = (DOCS / "training.md").read_text(encoding="utf-8")
    table = text[text.index("## Combining functions") : text.index("## Recipes")]
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([\d.]+) \|$", table, re.MULTILINE)
    assert sorted(name for name, _ in rows) == list(COMBINING_FUNCTIONS)
    for name, millions in rows:
        with torch.device("meta"):
            function = build_combining(640, CombiningSettings(function=name))
        assert float(millions) == round(sum(p.numel() for p in function.parameters()) / 1e6, 1), name


def test_the_checks_see_what_is_there() -> None:
    found = [program for page in PAGES for program, _ in commands(read(page))]
    assert JOBS - {"jobs/demo.py"} <= set(found)
    assert list(commands("python jobs/index.py --list      --index.path build/demo/index")) == [
        ("jobs/index.py", ["list", "index.path"])
    ]
    assert {"index.path", "list", "max_bad"} <= options("jobs/index.py")
    assert not is_known("index.pathh", options("jobs/index.py"))
    assert is_known("index.hnsw.*", options("jobs/index.py"))
    assert "at-a-uri" in anchors(DOCS / "data.md")


def test_the_plan_on_the_page_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    page = DOCS / "capacity.md"
    (text,) = blocks(page, "text")
    (arguments,) = re.findall(r"python jobs/plan\.py (.*)", blocks(page, "sh")[0])
    plan(shlex.split(arguments))
    assert capsys.readouterr().out == text
