"""Arguments of the jobs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pytest

from cirray.config.command_line import STOPPED, main, parse
from cirray.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], {}),
        (["--data.root", "x"], {"data.root": "x"}),
        (["--data.root=x"], {"data.root": "x"}),
        (["--data.root="], {"data.root": None}),
        (["--output=a=b"], {"output": "a=b"}),
        (["--data.skip-bad"], {"data.skip_bad": True}),
        (["--data.skip-bad", "--workers", "2"], {"data.skip_bad": True, "workers": 2}),
        (["--data.skip_bad", "false"], {"data.skip_bad": False}),
        (["--output", "with-dash"], {"output": "with-dash"}),
        (["--data.categories", "[dress, shirt]"], {"data.categories": ["dress", "shirt"]}),
        (["--stage1.optimisation.betas=[0.9, 0.98]"], {"stage1.optimisation.betas": [0.9, 0.98]}),
        (["--stage1.optimisation.lr", "1e-4"], {"stage1.optimisation.lr": 1e-4}),
        (["--stage1.optimisation.lr", "2.5E-6"], {"stage1.optimisation.lr": 2.5e-6}),
        (["--seed", "-1"], {"seed": -1}),
        (["--stage1.optimisation.chunk", "null"], {"stage1.optimisation.chunk": None}),
        (["--backbone.model", "RN50"], {"backbone.model": "RN50"}),
        (["--output", "{a: b}"], {"output": "{a: b}"}),
        (["--output", "a: [b"], {"output": "a: [b"}),
        (["--output", "2024-01-02"], {"output": "2024-01-02"}),
    ],
)
def test_parse(argv: Sequence[str], expected: dict[str, Any]) -> None:
    found = parse(argv)
    assert found == expected
    assert {name: type(value) for name, value in found.items()} == {name: type(v) for name, v in expected.items()}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--seed", "1", "--seed=2"], "--seed is given twice"),
        (["--data.skip-bad", "--data.skip_bad"], "given twice"),
        (["stray"], "found 'stray'"),
        (["--seed", "1", "2"], "found '2'"),
        (["-x"], "found '-x'"),
        (["--"], "found '--'"),
    ],
)
def test_parse_refuses(argv: Sequence[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(argv)


def run_main(argv: Sequence[str], job: Any, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["job", *argv])
    try:
        main(job, lambda rest: f"usage of the job, with {list(rest)}")
    except SystemExit as end:
        return end.code
    return None


def test_main_runs_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Sequence[str]] = []
    assert run_main(["--seed", "1"], seen.append, monkeypatch) is None
    assert seen == [["--seed", "1"]]


@pytest.mark.parametrize(
    ("argv", "rest", "code"), [(["--seed", "1", "--help"], ["--seed", "1"], 0), (["-h"], [], 0), ([], [], 2)]
)
def test_main_prints_usage(
    argv: Sequence[str], rest: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Sequence[str]] = []
    assert run_main(argv, seen.append, monkeypatch) == code
    assert capsys.readouterr().out == f"usage of the job, with {rest}\n"
    assert not seen


def test_main_prints_our_errors_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(argv: Sequence[str]) -> None:
        raise DataError("no such file")

    assert run_main(["--seed", "1"], fail, monkeypatch) == 2
    assert capsys.readouterr().err == "error: no such file\n"


def test_main_lets_other_errors_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(argv: Sequence[str]) -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        run_main(["--seed", "1"], fail, monkeypatch)


def test_ctrl_c_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(argv: Sequence[str]) -> None:
        raise KeyboardInterrupt

    assert run_main(["--seed", "1"], stopped, monkeypatch) == STOPPED
    assert "run the same command again to resume" in capsys.readouterr().err
