"""Provenance of an output: versions, git commit, seed, command."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cirray import __version__

PACKAGES = ("ray", "torch", "torchvision", "open_clip_torch", "numpy", "pillow", "safetensors")


def provenance(seed: int | None = None) -> dict[str, Any]:
    """Returns the versions, commit, seed and command that produced an output.

    Args:
        seed: the random seed; None if nothing was random.
    """
    return {
        "cirray": __version__,
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in PACKAGES},
        "git": _git_commit(),
        "seed": seed,
        "command": sys.argv,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Returns the commit of the source tree, with suffix `+changes` if it is dirty; None outside a checkout."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() or None
