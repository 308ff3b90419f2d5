"""Shared fixtures: the real data's folder, one Ray per process, an S3 server; and the grouping of parallel tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.object_store import new_bucket

if TYPE_CHECKING:
    from tests.support.service_fixtures import Shop

# Inherited by all processes that tests start. Read when torch and Ray are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run in parallel
os.environ.setdefault("RAY_worker_niceness", "0")  # at Ray's default of 15, parallel tests starve its workers
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")  # maximum delay at the end of a training
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


# Fixtures that several files share and that take long to make: their tests run in one process.
SHARED = ("shop", "service")
# Files whose tests take minutes, the longest first.
LONGEST = ("test_tune.py", "test_start.py", "test_remote.py")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups tests that share expensive fixtures in one process, and starts the longest groups first.

    A group is the tests of a fixture in `SHARED`, or of one file. Groups start in the order of `items`
    (--no-loadscope-reorder); a long one that started last would run alone at the end.
    """
    items.sort(key=_turn)
    for item in items:
        shared = [name for name in SHARED if name in getattr(item, "fixturenames", ())]
        item.add_marker(pytest.mark.xdist_group(shared[0] if shared else item.location[0]))


def _turn(item: pytest.Item) -> int:
    """Returns when a test starts: those of `LONGEST`, then other slow tests, then the rest."""
    if item.path.name in LONGEST:
        return LONGEST.index(item.path.name)
    return len(LONGEST) + (item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real data; skips the test if there is none."""
    folder = Path(os.environ.get("CIRRAY_TEST_DATA", ""))
    if not os.environ.get("CIRRAY_TEST_DATA") or not folder.is_dir():
        pytest.skip("no real data: set CIRRAY_TEST_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, tmp_path: Path) -> Iterator[str]:
    """The URI of an empty bucket, with the environment variables to reach it set."""
    with new_bucket(s3_server, tmp_path) as uri:
        yield uri


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray for all tests of this process, with CPUs for a training with two workers and for replicas."""
    import ray

    from cirray.cluster.session import connect

    connect(4, Path(__file__).parents[1] / "serve")
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def shop(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A small indexed catalog with an encoder replica; tests must not modify it."""
    from ray import serve

    from tests.support.service_fixtures import deploy, write_shop

    yield deploy(write_shop(tmp_path_factory.mktemp("shop")), "encoder")
    serve.shutdown()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fails if pytest-xdist does not apply the groups: each process would then build what tests share."""
    grouped = session.config.getoption("loadgroup", False)  # set in the processes of pytest-xdist only
    if grouped and any("@" not in item.nodeid for item in session.items):
        raise pytest.UsageError("this pytest-xdist does not group tests with this pytest: install requirements.lock")
