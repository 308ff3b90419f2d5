"""`ray job submit` as somebody does it who has Ray's client and nothing else, to nodes that have not got cirray."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, cluster
from tests.support.environments import locked, make_environment
from tests.support.runs import options, small_settings
from tests.support.small_catalog import write_small_catalog
from tests.support.submission import submit

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with Ray's client alone."""
    return make_environment(tmp_path_factory.mktemp("client") / "venv", f"ray[default]=={locked('ray')}")


@pytest.fixture(scope="module")
def nodes(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head and a worker node that find the locked packages, and nothing of this repository."""
    with cluster(tmp_path_factory.mktemp("nodes"), {"PYTHONPATH": ""}, runtime) as started:
        started.add(2)
        yield started


def has(bin: Path, module: str) -> bool:
    """Whether an environment can import a module."""
    found = [str(bin / "python"), "-c", f"import importlib.util as u; exit(u.find_spec('{module}') is None)"]
    return subprocess.run(found, cwd=bin, env={}, timeout=60).returncode == 0


def test_a_client_with_ray_alone_trains(client: Path, nodes: Cluster, tmp_path: Path) -> None:
    assert has(client, "ray") and not has(client, "torch") and not has(client, "cirray")
    assert has(nodes.bin, "torch") and not has(nodes.bin, "cirray")
    data = write_small_catalog(tmp_path / "data")
    small = {"stage0.enabled": "false", "stage1.enabled": "false", "stage2.optimisation.epochs": "4"}
    settings = {**small_settings(data, tmp_path), **small, "output": str(tmp_path / "out"), "workers": "2"}

    refused = ["python", "-c", f"open({str(tmp_path / 'ran')!r}, 'w')"]
    for token in ("", "0" * 64):
        done = submit(nodes, refused, bin=client, token=token)
        assert done.returncode != 0
        assert "authentication" in (done.stdout + done.stderr).lower()
    assert not (tmp_path / "ran").exists()

    done = submit(nodes, ["python", "jobs/train.py", *options(settings)], "--working-dir", ".", bin=client)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    assert (tmp_path / "out" / "bundle" / "model.json").is_file()
    assert (tmp_path / "out" / "report.json").is_file()
