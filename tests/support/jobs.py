"""Runs a job within the test's own process, on its Ray: a process of its own would import torch and start Ray first."""

from __future__ import annotations

import io
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

import pytest

from tests.support.runs import REPOSITORY


@dataclass(frozen=True)
class Finished:
    """What a job left: its exit status and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def run_job(name: str, *arguments: str) -> Finished:
    """Runs jobs/NAME.py with these arguments to its end, as `python jobs/NAME.py` does."""
    script = REPOSITORY / "jobs" / f"{name}.py"
    out, err = io.StringIO(), io.StringIO()
    status: object = None
    with (
        patch.object(sys, "argv", [str(script), *arguments]),
        patch.object(sys, "path", list(sys.path)),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            status = end.code
    assert status is None or isinstance(status, int), status
    return Finished(status or 0, out.getvalue(), err.getvalue())


def succeed(name: str, *arguments: str) -> Finished:
    """Runs a job that must succeed."""
    done = run_job(name, *arguments)
    assert done.returncode == 0, done.stderr[-4000:]
    return done


def forbid_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has whoever joins or starts Ray fail, as no wrong setting may."""

    def joined(*_: object, **__: object) -> None:
        raise AssertionError("Ray was asked for")

    for name in ("init", "is_initialized"):
        monkeypatch.setattr(f"ray.{name}", joined)
