"""Backs up all Qdrant collections to another volume, or restores them.

A Qdrant snapshot contains one node's part of one collection, and no aliases. A backup therefore has a snapshot of each
collection from each node, and aliases.json, which is written last and marks the backup as complete. Environment: see
backup.yaml.
"""

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

_ALIASES = "aliases.json"


def save(nodes: list[httpx.Client], folder: Path, keep: int) -> Path:
    """Writes FOLDER/TIME/NODE/COLLECTION.snapshot, then deletes all but the `keep` newest complete backups.

    Args:
        nodes: a client for each Qdrant node.
        folder: folder of all backups.
        keep: number of backups to keep.

    Returns:
        The folder of the new backup.

    Raises:
        httpx.HTTPError: a node does not answer, or reports an error.
    """
    target = folder / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for number, node in enumerate(nodes):
        (target / str(number)).mkdir(parents=True)
        for collection in _get(node, "/collections")["collections"]:
            _fetch(node, collection["name"], target / str(number))
    (target / _ALIASES).write_text(json.dumps(_get(nodes[0], "/aliases")["aliases"]))
    taken = sorted(folder.glob(f"{'[0-9]' * 8}T{'[0-9]' * 6}Z"))
    kept = [path for path in taken if (path / _ALIASES).exists()][-keep:]
    for path in set(taken) - set(kept):
        shutil.rmtree(path)
    return target


def restore(nodes: list[httpx.Client], source: Path) -> None:
    """Restores the snapshots of every node, then the aliases. Collections created since the backup are kept.

    Args:
        nodes: a client for each Qdrant node, in the order of the backup.
        source: folder of the backup.

    Raises:
        httpx.HTTPError: a node does not answer, or reports an error.
    """
    aliases = json.loads((source / _ALIASES).read_text())
    for number, node in enumerate(nodes):
        for path in sorted((source / str(number)).glob("*.snapshot")):
            with path.open("rb") as file:
                url = f"/collections/{path.stem}/snapshots/upload"
                _ok(node.post(url, params={"priority": "snapshot"}, files={"snapshot": file}))
            print(f"node {number}: restored {path.stem}", flush=True)
    names = {alias["alias_name"] for alias in _get(nodes[0], "/aliases")["aliases"]}
    actions: list[dict[str, Any]] = [
        {"delete_alias": {"alias_name": alias["alias_name"]}} for alias in aliases if alias["alias_name"] in names
    ]
    actions += [{"create_alias": alias} for alias in aliases]
    _ok(nodes[0].post("/collections/aliases", json={"actions": actions}))


def _fetch(node: httpx.Client, collection: str, folder: Path) -> None:
    snapshots = f"/collections/{collection}/snapshots"
    name = _ok(node.post(snapshots)).json()["result"]["name"]
    partial = folder / f"{collection}.partial"
    with node.stream("GET", f"{snapshots}/{name}") as response, partial.open("wb") as file:
        _ok(response)
        for block in response.iter_bytes(1 << 20):
            file.write(block)
    partial.rename(folder / f"{collection}.snapshot")
    _ok(node.delete(f"{snapshots}/{name}"))
    print(f"{folder}: saved {collection}", flush=True)


def _get(node: httpx.Client, path: str) -> Any:
    return _ok(node.get(path)).json()["result"]


def _ok(response: httpx.Response) -> httpx.Response:
    return response.raise_for_status()


def main() -> None:
    """Backs up, or restores the backup named by RESTORE."""
    headers = {"api-key": os.environ["QDRANT_API_KEY"]}
    urls = [os.environ["NODE_URL"].format(number) for number in range(int(os.environ["NODES"]))]
    nodes = [httpx.Client(base_url=url, headers=headers, timeout=3600) for url in urls]
    folder = Path(os.environ["FOLDER"])
    if wanted := os.environ.get("RESTORE"):
        restore(nodes, folder / wanted)
    else:
        print(save(nodes, folder, int(os.environ["KEEP"])))


if __name__ == "__main__":
    main()
