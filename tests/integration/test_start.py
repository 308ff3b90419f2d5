"""docs/start.md as written: from a product feed to a search page, and again after the feed has changed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.runs import REPOSITORY
from tests.support.service import free_port, wait_until
from tests.support.small_catalog import write_small_catalog
from tests.test_docs import DOCS, blocks


def page_commands() -> tuple[str, str]:
    """Returns the two commands of docs/start.md: the start and the service."""
    first, second = blocks(DOCS / "start.md", "sh")[0].strip().splitlines()
    return first, second


def write_feed(folder: Path, items: int = 40) -> None:
    """Writes products.csv as WooCommerce exports it: prices as text, and two pictures of every product."""
    catalog = [json.loads(line) for line in (folder / "catalog.jsonl").read_text(encoding="utf-8").splitlines()]
    columns = ["ID", "Type", "SKU", "Name", "Published", "Regular price", "Categories", "Images", "Attribute 1 name"]
    with (folder / "products.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, [*columns, "Attribute 1 value(s)"])
        rows.writeheader()
        for number, item in enumerate(catalog[:items]):
            size, colour, shape = item["id"].split("-")
            rows.writerow(
                {
                    "ID": number,
                    "Type": "simple",
                    "SKU": f"{number:04d}",
                    "Name": item["title"],
                    "Published": 1,
                    "Regular price": f"{number + 1},99 €",
                    "Categories": f"Shapes > {shape}",
                    "Images": f"images/{size}-{colour}-{shape}.png, images/large-{colour}-{shape}.png",
                    "Attribute 1 name": "Colour",
                    "Attribute 1 value(s)": colour,
                }
            )


def environment() -> dict[str, str]:
    values = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "QDRANT_URL")}
    return {**values, "PATH": f"{Path(sys.executable).parent}:{values['PATH']}"}


def run_command(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@contextmanager
def serving(command: str, folder: Path) -> Iterator[str]:
    """Runs the service with one more option, a free port; yields its address."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command} --serve.port {port}"], cwd=folder, env=environment(), stdout=log, stderr=log
        )
    try:
        wait_until(lambda: is_ready(address, process), 180, "the service")
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(180)


def is_ready(address: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the service ended"
    try:
        return httpx.get(f"{address}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.slow
def test_the_page_as_written(tmp_path: Path) -> None:
    start, serve = page_commands()
    for name in ("jobs", "platform", "serve"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    write_small_catalog(tmp_path)
    write_feed(tmp_path)
    done = run_command(start, tmp_path)
    assert "columns as exported by woocommerce" in done.stderr
    assert "FT combiner" in done.stdout
    report = json.loads((tmp_path / "build" / "shop" / "start.json").read_text(encoding="utf-8"))
    assert report["items"] == 40
    assert "40 items are searchable" in done.stderr
    with serving(serve, tmp_path) as address:
        assert "<html" in httpx.get(f"{address}/").text
        query = {"reference": {"id": "0000"}, "text": "blue instead of red", "limit": 5}
        answer = httpx.post(f"{address}/v1/search", json=query, timeout=30).json()
        assert len({hit["id"] for hit in answer["hits"]}) == 5
        price = next(
            item for item in httpx.get(f"{address}/v1/items?limit=100").json()["items"] if item["id"] == "0000"
        )
        assert price["attributes"]["regular_price"] == 1.99
    write_feed(tmp_path, items=39)
    bundle = (tmp_path / "build" / "shop" / "training" / "bundle" / "model.json").stat().st_mtime_ns
    again = run_command(start, tmp_path)
    assert "1 removed" in again.stderr
    assert (tmp_path / "build" / "shop" / "training" / "bundle" / "model.json").stat().st_mtime_ns == bundle
