"""The feature store: array rows keyed by content, written once, shared by all runs, and memory-mapped by readers.

One folder contains the rows of one kind (image features, text features, preprocessed pixels) and one fingerprint. It
consists of immutable shard files, each with its keys in its header. Shards are written atomically, so concurrent
writers are safe; at worst a row is stored twice.
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
    """The rows of one kind and fingerprint.

    Args:
        root: the store; created when the first shard is written. Shards at a URI are memory-mapped from its mirror.
        kind: the kind of the rows.
        fingerprint: SHA-256 of everything that determines a row, except its content (the picture or caption).
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
        """Pickles only the constructor's arguments; other processes and nodes map the shards themselves."""
        return FeatureStore, (self.root, self.kind, self.fingerprint)

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Returns the distinct keys that are not stored yet, in the given order."""
        self._refresh()
        return [key for key in dict.fromkeys(keys) if key not in self._rows]

    def write(self, keys: Sequence[str], rows: np.ndarray) -> Path:
        """Writes one shard atomically; returns its path.

        Args:
            keys: N content keys.
            rows: [N, ...], float32 features or uint8 pixels.

        Raises:
            StoreError: the numbers of keys and rows differ, or a feature is not finite.
        """
        if len(keys) != len(rows):
            raise StoreError(f"{self.folder}: {len(keys)} keys were given for {len(rows)} rows")
        if np.issubdtype(rows.dtype, np.floating) and not np.isfinite(rows).all():
            raise StoreError(f"{self.folder}: features contain NaN or infinity: check the weights of the encoder")
        name = uuid.uuid4().hex
        header = {"keys": json.dumps(list(keys)), "kind": self.kind, "fingerprint": self.fingerprint}
        shard = self.folder / f"{name}.safetensors"
        with replacing(shard) as temporary:
            save_file({ROWS: np.ascontiguousarray(rows)}, temporary, metadata=header)
            if self._remote is not None:
                self._remote.put(temporary, shard.name)
        return shard

    def read(self, keys: Sequence[str]) -> Tensor:
        """Returns the rows of N keys, [N, ...], copied from the memory-mapped shards.

        Raises:
            StoreError: a key is not stored, or a shard file is damaged.
        """
        if any(key not in self._rows for key in keys):
            absent = self.missing(keys)
            if absent:
                raise StoreError(f"{self.folder} lacks {len(absent)} of {len(keys)} rows, such as {absent[0]}")
        if not keys:
            raise StoreError(f"{self.folder}: no keys were given to read")
        by_shard: dict[Path, tuple[list[int], list[int]]] = {}
        for position, key in enumerate(keys):
            shard, row = self._rows[key]
            positions, rows = by_shard.setdefault(shard, ([], []))
            positions.append(position)
            rows.append(row)
        first = self._shards[next(iter(by_shard))]
        gathered = torch.empty((len(keys), *first.shape[1:]), dtype=first.dtype)
        for shard, (positions, rows) in by_shard.items():
            gathered[torch.tensor(positions)] = self._shards[shard][torch.tensor(rows)]
        return gathered

    def _refresh(self) -> None:
        """Maps new shards, sorted by name, so that all readers use the same copy of a duplicate row."""
        self._mirror()
        for shard in sorted(self.folder.glob("*.safetensors")):
            if shard in self._shards:
                continue
            keys, rows = self._map(shard)
            self._shards[shard] = rows
            for row, key in enumerate(keys):
                self._rows.setdefault(key, (shard, row))

    def _mirror(self) -> None:
        """Downloads the URI's shards that are not in the mirror yet; shards never change."""
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
            raise StoreError(f"{shard} is damaged ({error}): delete it; its rows will be computed again") from None
        if header.get("fingerprint") != self.fingerprint:
            raise StoreError(f"{shard} has fingerprint {header.get('fingerprint')}, unlike its folder: move it out")
        keys: list[str] = json.loads(header["keys"])
        return keys, rows
