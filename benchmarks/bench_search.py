"""Search throughput and latency with and without batching and stored features, as ratios within one run.

python benchmarks/bench_search.py BUNDLE INDEX PICTURE
"""

import asyncio
import base64
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cirray.client import Client
from tests.support.service import Load, keep_in_flight, running

SECONDS = 8.0


def measure(address: str, bodies: list[Mapping[str, Any]], in_flight: int) -> tuple[float, float]:
    """Returns (requests per second, median milliseconds) with `in_flight` concurrent searches."""
    load, end = Load(), time.monotonic() + SECONDS
    asyncio.run(keep_in_flight(address, bodies, in_flight, lambda: time.monotonic() > end, load))
    assert set(load.statuses) == {200}, load.errors[:3]
    return load.statuses[200] / SECONDS, 1000 * statistics.median(load.seconds)


def main() -> None:
    """Prints one line per measurement, with its ratio to the first."""
    bundle, index, picture = (Path(argument) for argument in sys.argv[1:4])
    with tempfile.TemporaryDirectory() as folder, running(bundle, index, Path(folder)) as service:
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
    main()
