"""Python environments made for a test from the lock files, without this project installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.runs import REPOSITORY


def make_environment(folder: Path, *packages: str) -> Path:
    """Creates an environment with some packages; returns the folder of its commands."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed: it creates the environment")
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *packages],
    ):
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
    return folder / "bin"


def runtime_packages() -> list[str]:
    """Returns the arguments of `pip install` in the Dockerfile."""
    return ["-r", "requirements-runtime.lock"]


def locked(package: str) -> str:
    """Returns a package's version in the lock file."""
    match = re.search(rf"^{package}==(\S+)", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE)
    assert match, package
    return match[1]
