"""Submits jobs to a cluster with `ray job submit`."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.cluster import Cluster
from tests.support.runs import REPOSITORY


def submit(
    cluster: Cluster, entrypoint: Sequence[str], *options: str, bin: Path | None = None, token: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `ray job submit` in the repository and waits until the job ends.

    Args:
        cluster: the cluster.
        entrypoint: the job's command.
        options: further options of `ray job submit`.
        bin: folder of the client's commands; None = those of the cluster's nodes.
        token: the token that the client sends; None = the cluster's token, "" = no token.
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
    """Returns the environment of an external client, which shares only the token with the nodes."""
    keep = ("PATH", "HOME", "LANG", "TMPDIR")
    sent = cluster.environment["RAY_AUTH_TOKEN"] if token is None else token
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": sent} if sent else {}
    return {name: cluster.environment[name] for name in keep if name in cluster.environment} | auth
