"""What all tests share: the real data's folder, and one Ray for the whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.object_store import new_bucket

if TYPE_CHECKING:
    from tests.support.service_fixtures import Shop


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real data, where it is at hand."""
    folder = Path(os.environ.get("CIRRAY_TEST_DATA", ""))
    if not os.environ.get("CIRRAY_TEST_DATA") or not folder.is_dir():
        pytest.skip("real data is not at hand: set CIRRAY_TEST_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server."""
    from moto.server import ThreadedMotoServer

    started = ThreadedMotoServer(port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield f"http://{host}:{port}"
    started.stop()


@pytest.fixture
def bucket(s3_server: str, tmp_path: Path) -> Iterator[str]:
    """The URI of an empty bucket, in an environment that reaches it."""
    with new_bucket(s3_server, tmp_path) as uri:
        yield uri


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray with two CPUs for all tests that need one."""
    import ray

    from cirray.cluster.session import connect

    connect(2, Path(__file__).parents[1] / "serve")
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def shop(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A small indexed catalog with an encoder replica; tests may not change it."""
    from ray import serve

    from tests.support.service_fixtures import deploy, write_shop

    yield deploy(write_shop(tmp_path_factory.mktemp("shop")), "encoder")
    serve.shutdown()
