"""What the production manifests tell Ray to do, done by a Ray without Kubernetes: their jobs one after the other, and
their service.

The texts are taken from the manifests as they are, and so are the environment and the numbers of nodes and CPUs.
What differs: a pod's folders are folders of this machine (`placed`), and there is no Qdrant server here, so QDRANT_URL
is not set, which means the embedded index in $CIRRAY_HOME, on the volume that all nodes share.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.cluster import Cluster, cluster
from tests.support.deployed import PORT, deploy, replicas
from tests.support.manifests import Object, built, environment_of, groups_of, of_kind
from tests.support.runs import REPOSITORY, options, small_settings
from tests.support.small_catalog import write_small_catalog
from tests.support.submission import submit

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
KEY = "a-key-for-the-test"
GIVEN = ("recipe", "data.root", "store")  # the entrypoints say these themselves, or leave them to the environment
SMALL = {"stage0.enabled": "false", "stage1.enabled": "false", "stage2.optimisation.epochs": "4"}
SMALL_SEARCH = {"trials": "2", "tune.finalists": "1", "tune.seeds": "1", "tune.sweep": "null"}


def placed(text: str, volume: Path) -> str:
    """Puts a folder in the place of the volume at /data, and the repository in the place of the image's /app."""
    text = re.sub(r"(?<![\w/.])/data\b", str(volume), text)
    return re.sub(r"(?<![\w/.])/app\b", str(REPOSITORY), text)


@pytest.fixture(scope="module")
def service() -> Object:
    (found,) = of_kind(built("production"), "RayService")
    return found


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is mounted at /data, with a catalog in it."""
    folder = tmp_path_factory.mktemp("volume")
    write_small_catalog(folder / "catalog")
    (folder / "runs").mkdir()
    return folder


@pytest.fixture(scope="module")
def nodes(service: Object, volume: Path, runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster of the RayService, in the image's environment."""
    head, workers = groups_of(service)
    environment = {name: placed(value, volume) for name, value in environment_of(head).items()}
    del environment["QDRANT_URL"]
    environment["CIRRAY_API_KEY"] = KEY
    with cluster(tmp_path_factory.mktemp("nodes"), environment, runtime) as started:
        assert head["rayStartParams"]["num-cpus"] == "0"
        started.add(*[int(workers["rayStartParams"]["num-cpus"])] * workers["replicas"])
        yield started


def run(name: str, nodes: Cluster, volume: Path, **more: str) -> None:
    """Submits the entrypoint of a RayJob, and settings after it."""
    (job,) = (item for item in of_kind(built("production/jobs"), "RayJob") if item["metadata"]["name"] == name)
    entrypoint = shlex.split(placed(job["spec"]["entrypoint"], volume))
    done = submit(nodes, [*entrypoint, *options(more)])
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]


def small(volume: Path) -> dict[str, str]:
    """Settings that make a training short."""
    settings = small_settings(volume / "catalog", volume)
    return {name: value for name, value in settings.items() if name not in GIVEN} | SMALL


@pytest.fixture(scope="module")
def bundle(nodes: Cluster, volume: Path) -> Path:
    """Trains, and names the model as docs/deploy.md does."""
    run("train", nodes, volume, **small(volume))
    (volume / "bundle").symlink_to("runs/first/bundle")
    return volume / "bundle"


@pytest.fixture(scope="module")
def index(nodes: Cluster, volume: Path, bundle: Path) -> Path:
    """Indexes the catalog."""
    run("index", nodes, volume)
    return volume / "runs" / "index" / "index.json"


def test_the_training_leaves_a_bundle(bundle: Path) -> None:
    assert (bundle / "model.json").is_file()
    assert json.loads((bundle.parent / "runs" / "first" / "report.json").read_text())["results"]


def test_the_evaluation_reports_recall(nodes: Cluster, volume: Path, bundle: Path) -> None:
    run("evaluate", nodes, volume)
    report = json.loads((volume / "runs" / "evaluation" / "evaluation.json").read_text())
    assert {row["combining"] for row in report["results"]} >= {"combiner"}
    assert {row["split"] for row in report["results"]} == {"val"}


def test_the_index_is_published(index: Path) -> None:
    result = json.loads(index.read_text())
    assert result["items"] == 40


def test_the_search_leaves_a_recipe(nodes: Cluster, volume: Path) -> None:
    run("tune", nodes, volume, **small(volume), **SMALL_SEARCH)
    assert json.loads((volume / "runs" / "tuned" / "tune.json").read_text())["trials"] == 2
    assert (volume / "runs" / "tuned" / "best.yaml").is_file()


def test_the_service_answers_composed_searches(service: Object, nodes: Cluster, volume: Path, index: Path) -> None:
    deploy(nodes, placed(service["spec"]["serveConfigV2"], volume))
    body = {"reference": {"id": "large-red-circle"}, "text": "make it blue"}
    for address in sorted({*replicas(nodes, "ingress"), *replicas(nodes, "encoder")}):
        search = f"http://{address}:{PORT}/v1/search"
        answer = httpx.post(search, json=body, headers={"X-API-Key": KEY}, timeout=30)
        assert answer.status_code == 200, answer.text
        assert answer.json()["kind"] == "composed"
        assert len(answer.json()["hits"]) > 1
        assert httpx.post(search, json=body, timeout=30).status_code == 401
