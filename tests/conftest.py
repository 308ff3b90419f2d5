"""What all tests share: the real data's folder, and one Ray for the whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real data, where it is at hand."""
    folder = Path(os.environ.get("CIRRAY_TEST_DATA", ""))
    if not os.environ.get("CIRRAY_TEST_DATA") or not folder.is_dir():
        pytest.skip("real data is not at hand: set CIRRAY_TEST_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray with two CPUs for all tests that need one."""
    import ray

    from cirray.runtime import connect

    connect(2)
    yield
    ray.shutdown()
