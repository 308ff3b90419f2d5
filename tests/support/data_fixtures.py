"""Small datasets on disk, for tests of the data package."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cirray.config.data import Data


def write_picture(path: Path, seed: int = 0, size: tuple[int, int] = (12, 9)) -> Path:
    """Writes a small picture of noise that depends on the seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def write_json(path: Path, value: Any) -> Path:
    """Writes one JSON document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_lines(path: Path, values: Iterable[Any]) -> Path:
    """Writes a JSON Lines file; a string is written unchanged, which allows invalid lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (value if isinstance(value, str) else json.dumps(value) for value in values)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def pair(reference: str, target: str | None, *captions: str) -> dict[str, Any]:
    """Returns a FashionIQ record."""
    record = {"candidate": reference, "captions": list(captions)}
    return record if target is None else {"target": target, **record}


def write_fashioniq(
    root: Path,
    captions: Mapping[str, Sequence[Any]],
    image_splits: Mapping[str, Sequence[Any]],
    pictures: Iterable[str] = (),
) -> Data:
    """Writes FashionIQ files, with keys such as "dress.train"; returns the configuration to read them."""
    for name, records in captions.items():
        write_json(root / "captions" / f"cap.{name}.json", list(records))
    for name, ids in image_splits.items():
        write_json(root / "image_splits" / f"split.{name}.json", list(ids))
    for seed, file in enumerate(pictures):
        write_picture(root / "images" / file, seed)
    categories = tuple(dict.fromkeys(name.split(".")[0] for name in captions))
    return Data(format="fashioniq", root=str(root), categories=categories)


def cirr_record(pair_id: int, reference: str, target: str | None, members: Sequence[str]) -> dict[str, Any]:
    """Returns a CIRR record."""
    record = {"pairid": pair_id, "reference": reference, "caption": "Two of them."}
    if target is not None:
        record["target_hard"] = target
    return {**record, "img_set": {"id": 1, "members": list(members)}}


def write_catalog(root: Path, count: int = 6) -> Data:
    """Writes a dataset in the triplets format with pictures p0, p1, ... and two splits; returns its configuration."""
    for i in range(count):
        write_picture(root / "images" / f"p{i}.png", i)
    write_lines(
        root / "catalog.jsonl",
        [{"id": f"p{i}", "image": f"images/p{i}.png", "title": f"t{i}"} for i in range(count)],
    )
    write_lines(root / "triplets.train.jsonl", [triplet("p0", "p1"), triplet("p2", "p3"), triplet("p1", "p4")])
    write_lines(root / "triplets.val.jsonl", [triplet("p4", "p5"), triplet("p0", "p2")])
    return Data(format="triplets", root=str(root))


def triplet(reference: str, target: str | None, captions: Any = ("is red", "has dots")) -> dict[str, Any]:
    """Returns a record of the triplets format."""
    record = {"reference": reference, "captions": list(captions) if isinstance(captions, tuple) else captions}
    return record if target is None else {**record, "target": target}
