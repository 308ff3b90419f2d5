"""A store of array rows keyed by content: written once, shared by every run, memory-mapped by readers.

One folder holds what one fingerprint computes (an image tower's features, a text tower's features, preprocessed
pixels). It consists of immutable shard files; each names its keys in its own header and appears by rename, so a reader
sees it complete or not at all, and two writers cannot disturb each other: at worst a row is stored twice.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from cirray.errors import StoreError
from cirray.storage.files import replacing
from cirray.storage.location import Location
from cirray.storage.remote import Remote

Kind = Literal["image", "text", "pixels"]
ROWS = "rows"


class FeatureStore:
    """The rows of one kind and fingerprint under `root`.

    Args:
        root: the store; created when the first shard is written. The shards of a URI are mapped from its mirror.
        kind: what a row is.
        fingerprint: SHA-256 of everything that determines a row besides its key's content.
    """

    def __init__(self, root: Location, kind: Kind, fingerprint: str) -> None:
        self.root = root
        self.kind = kind
        self.fingerprint = fingerprint
        location = root / f"{kind}-{fingerprint[:32]}"
        self.folder = location.local
        self._remote = Remote(str(location)) if location.is_remote else None
        self._shards: dict[Path, Tensor] = {}
        self._rows: dict[str, tuple[Path, int]] = {}

    def __reduce__(self) -> tuple[type[FeatureStore], tuple[Location, Kind, str]]:
        """Pickled as its location: other processes and nodes map the shards themselves."""
        return FeatureStore, (self.root, self.kind, self.fingerprint)

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Returns the distinct keys that no shard holds yet, in their order."""
        self._refresh()
        return [key for key in dict.fromkeys(keys) if key not in self._rows]

    def write(self, keys: Sequence[str], rows: np.ndarray) -> Path:
        """Adds one shard; it exists complete or not at all.

        Args:
            keys: N content keys.
            rows: [N, ...], float32 features or uint8 pixels.

        Raises:
            StoreError: as many keys as rows are expected, and finite rows.
        """
        if len(keys) != len(rows):
            raise StoreError(f"{self.folder}: {len(keys)} keys were given for {len(rows)} rows")
        if np.issubdtype(rows.dtype, np.floating) and not np.isfinite(rows).all():
            raise StoreError(f"{self.folder}: features hold NaN or infinity; check the weights that made them")
        name = uuid.uuid4().hex
        header = {"keys": json.dumps(list(keys)), "kind": self.kind, "fingerprint": self.fingerprint}
        shard = self.folder / f"{name}.safetensors"
        with replacing(shard) as temporary:
            save_file({ROWS: np.ascontiguousarray(rows)}, temporary, metadata=header)
            if self._remote is not None:
                self._remote.put(temporary, shard.name)
        return shard

    def read(self, keys: Sequence[str]) -> Tensor:
        """Gathers the rows of `keys`, [N, ...], copied out of the memory-mapped shards.

        Raises:
            StoreError: a key is not stored, or a shard file is damaged.
        """
        if any(key not in self._rows for key in keys):
            absent = self.missing(keys)
            if absent:
                raise StoreError(f"{self.folder} lacks {len(absent)} of {len(keys)} rows, such as {absent[0]}")
        if not keys:
            raise StoreError(f"{self.folder}: no keys were asked for")
        by_shard: dict[Path, tuple[list[int], list[int]]] = {}
        for position, key in enumerate(keys):
            shard, row = self._rows[key]
            positions, rows = by_shard.setdefault(shard, ([], []))
            positions.append(position)
            rows.append(row)
        first = self._shards[next(iter(by_shard))]
        found = torch.empty((len(keys), *first.shape[1:]), dtype=first.dtype)
        for shard, (positions, rows) in by_shard.items():
            found[torch.tensor(positions)] = self._shards[shard][torch.tensor(rows)]
        return found

    def _refresh(self) -> None:
        """Maps shards that appeared since the last look; sorted, so that all readers prefer the same copy of a row."""
        self._mirror()
        for shard in sorted(self.folder.glob("*.safetensors")):
            if shard in self._shards:
                continue
            keys, rows = self._map(shard)
            self._shards[shard] = rows
            for row, key in enumerate(keys):
                self._rows.setdefault(key, (shard, row))

    def _mirror(self) -> None:
        """Fetches the shards of a URI that are not here yet; they never change."""
        if self._remote is not None:
            for name in self._remote.names():
                if not (self.folder / name).exists():
                    self._remote.get(name, self.folder / name)

    def _map(self, shard: Path) -> tuple[list[str], Tensor]:
        try:
            with safe_open(shard, framework="pt") as content:
                header = content.metadata() or {}
                rows = content.get_tensor(ROWS)
        except (SafetensorError, OSError) as error:
            raise StoreError(f"{shard} is damaged ({error}): delete it, and its rows are computed again") from None
        if header.get("fingerprint") != self.fingerprint:
            raise StoreError(f"{shard} belongs to fingerprint {header.get('fingerprint')}: move it where it belongs")
        keys: list[str] = json.loads(header["keys"])
        return keys, rows
