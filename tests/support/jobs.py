"""Runs a job in the test's process and on its Ray, which saves importing torch and starting Ray."""

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
    """A finished job: its exit status and output."""

    returncode: int
    stdout: str
    stderr: str


def run_job(name: str, *arguments: str) -> Finished:
    """Runs jobs/NAME.py with these arguments, as `python jobs/NAME.py` does."""
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
    """Runs a job and asserts that it succeeds."""
    done = run_job(name, *arguments)
    assert done.returncode == 0, done.stderr[-4000:]
    return done


def forbid_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every use of Ray fail, for tests of errors that must be raised before Ray starts."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("Ray was used")

    for name in ("init", "is_initialized"):
        monkeypatch.setattr(f"ray.{name}", fail)
