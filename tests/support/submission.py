"""Submits jobs to a cluster with Ray's own command."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.cluster import Cluster
from tests.support.runs import REPOSITORY


def submit(
    cluster: Cluster, entrypoint: Sequence[str], *options: str, bin: Path | None = None, token: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `ray job submit` in the repository and waits for the job's end.

    Args:
        bin: folder of the client's commands, if not those of the cluster's nodes.
        token: what the client shows in place of the cluster's token; "" for nothing.
    """
    command = [str((bin or cluster.bin) / "ray"), "job", "submit", "--address", cluster.dashboard, *options]
    return subprocess.run(
        [*command, "--", *entrypoint],
        cwd=REPOSITORY,
        env=_client(cluster, token),
        capture_output=True,
        text=True,
        timeout=400,
    )


def _client(cluster: Cluster, token: str | None) -> Mapping[str, str]:
    """The environment of somebody elsewhere: nothing of the nodes' but the token."""
    keep = ("PATH", "HOME", "LANG", "TMPDIR")
    shown = cluster.environment["RAY_AUTH_TOKEN"] if token is None else token
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": shown} if shown else {}
    return {name: cluster.environment[name] for name in keep if name in cluster.environment} | auth
