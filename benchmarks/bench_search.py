"""Search throughput and latency with and without batching and stored features, as ratios within one run.

python benchmarks/bench_search.py [BUNDLE INDEX PICTURE]

Without arguments, it measures a tiny bundle with random weights on a catalog of 40 pictures.
"""

import asyncio
import base64
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import ray

from cirray.client import Client
from tests.support.service import Load, keep_in_flight, running
from tests.support.service_fixtures import write_shop

SECONDS = 8.0


def measure(address: str, bodies: list[Mapping[str, Any]], in_flight: int) -> tuple[float, float]:
    """Returns (requests per second, median milliseconds) with `in_flight` concurrent searches."""
    load, end = Load(), time.monotonic() + SECONDS
    asyncio.run(keep_in_flight(address, bodies, in_flight, lambda: time.monotonic() > end, load))
    assert set(load.statuses) == {200}, load.errors[:3]
    return load.statuses[200] / SECONDS, 1000 * statistics.median(load.seconds)


def small_shop(folder: Path) -> list[Path]:
    """Writes a tiny bundle and an index of a small catalog; returns the paths of both and of a picture."""
    shop = write_shop(folder)
    ray.shutdown()  # the service starts its own Ray
    return [shop.bundle, shop.index, next((folder / "data" / "images").iterdir())]


def main(arguments: Sequence[str]) -> None:
    """Prints one line per measurement, with its ratio to the first."""
    with tempfile.TemporaryDirectory() as folder:
        bundle, index, picture = map(Path, arguments or small_shop(Path(folder) / "shop"))
        report(bundle, index, picture, Path(folder))


def report(bundle: Path, index: Path, picture: Path, folder: Path) -> None:
    """Measures a service and prints the results."""
    with running(bundle, index, folder) as service:
        with Client(service.address) as client:
            ids = [item.id for _, item in zip(range(200), client.items(), strict=False)]
        photo = base64.b64encode(picture.read_bytes()).decode()
        composed = [{"reference": {"id": name}, "text": f"like {name}"} for name in ids]
        similar = [{"reference": {"id": name}} for name in ids]
        pictures = [{"reference": {"image": photo}, "text": f"like {name}"} for name in ids]
        measure(service.address, composed, 4)  # warm
        rows = {
            "composed by id, 1 in flight": measure(service.address, composed, 1),
            "composed by id, 32 in flight": measure(service.address, composed, 32),
            "similar by id, 1 in flight": measure(service.address, similar, 1),
            "composed by picture, 1 in flight": measure(service.address, pictures, 1),
            "composed by picture, 32 in flight": measure(service.address, pictures, 32),
        }
    (base, base_ms), *_ = rows.values()
    for name, (rate, milliseconds) in rows.items():
        print(f"{name:36} {rate:8.1f}/s ({rate / base:5.2f}x) {milliseconds:8.1f} ms ({milliseconds / base_ms:5.2f}x)")


if __name__ == "__main__":
    main(sys.argv[1:])
