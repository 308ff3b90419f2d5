"""Shared fixtures of the integration tests: a trained run, a search service, the image's Python environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.environments import make_environment, runtime_packages
from tests.support.jobs import succeed
from tests.support.once import made_once
from tests.support.runs import options, small_settings
from tests.support.service import Running, running
from tests.support.service_fixtures import Shop, write_shop
from tests.support.small_catalog import write_small_catalog


@pytest.fixture(scope="session")
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of all stages with ablation: catalog in data/, features in store/, output in run/."""

    def train(folder: Path) -> None:
        request.getfixturevalue("ray_session")
        settings = small_settings(write_small_catalog(folder / "data"), folder)
        succeed("train", *options({**settings, "ablation": "true"}), "--output", str(folder / "run"))

    return made_once("trained", tmp_path_factory, train)


@pytest.fixture(scope="package")
def own_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A catalog that tests may modify; its bundle is also at the symbolic link `current`, which may be changed."""
    folder = tmp_path_factory.mktemp("served")
    shop = write_shop(folder)
    (folder / "current").symlink_to("bundle")
    return shop


@pytest.fixture(scope="package")
def service(own_shop: Shop) -> Iterator[Running]:
    """The service with two replicas of each kind."""
    folder = own_shop.index.parent
    settings = {"ingress_replicas": 2, "encoder_replicas": 2, "encoder_replicas_max": 2, "cpus": 0.25, "poll_s": 0.3}
    with running(folder / "current", own_shop.index, folder, **settings) as started:
        yield started


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the commands of an environment like the image's: the runtime packages, without cirray."""
    return make_environment(tmp_path_factory.mktemp("runtime") / "venv", *runtime_packages())
