"""The objects that `kubectl kustomize` builds from the overlays, and access to their parts."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RAY_KINDS = ("RayService", "RayJob")
Object = dict[str, Any]


@functools.cache
def built(folder: str) -> list[Object]:
    """Returns the objects of an overlay."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: it builds the overlays")
    command = ["kubectl", "kustomize", str(ROOT / "k8s/overlays" / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Returns the objects of some kinds."""
    return [item for item in objects if item["kind"] in kinds]


def cluster_of(item: Object) -> Object:
    """Returns the Ray cluster of a Ray object."""
    cluster: Object = item["spec"]["rayClusterConfig" if item["kind"] == "RayService" else "rayClusterSpec"]
    return cluster


def groups_of(item: Object) -> list[Object]:
    """Returns the pod groups of a Ray object, the head's first."""
    return [cluster_of(item)["headGroupSpec"], *cluster_of(item)["workerGroupSpecs"]]


def environment_of(group: Object) -> dict[str, str]:
    """Returns the environment variables of a group's pods that do not come from secrets."""
    (container,) = group["template"]["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
