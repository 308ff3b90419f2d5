"""The indexing job and the service with everything at URIs, on machines that share nothing else."""

from __future__ import annotations

import asyncio
import json
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from cirray.client.feedback import export_triplets
from cirray.config.indexing import IndexConfig
from cirray.config.recipe import load_recipe
from cirray.config.serving import Serving
from cirray.index.build import build_index
from cirray.index.edge import EdgeBackend
from cirray.storage.location import Location
from cirray.storage.remote import Remote
from serve.environment import open_index
from serve.service import Service
from tests.support.object_store import upload
from tests.support.service_fixtures import Shop, ask


def index(bucket: str) -> dict[str, Any]:
    """Runs the indexing job with nothing but URIs."""
    config = load_recipe(IndexConfig, "default", {"index.path": f"{bucket}/index", "store": f"{bucket}/store"})
    return build_index(f"{bucket}/bundle", f"{bucket}/shop/catalog.jsonl", config)


@pytest.fixture
def shop_at_a_uri(shop: Shop, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket with the shop's catalog, bundle and index."""
    monkeypatch.delenv("QDRANT_URL", raising=False)
    upload(shop.catalog.parent, f"{bucket}/shop")
    upload(shop.bundle, f"{bucket}/bundle")
    monkeypatch.setenv("CIRRAY_HOME", str(tmp_path / "job"))
    report = index(bucket)
    assert (report["items"], report["embedded"], report["index"]) == (40, 40, f"{bucket}/index")
    return bucket


def test_another_machine_indexes_what_changed_alone(
    shop_at_a_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CIRRAY_HOME", str(tmp_path / "another-job"))
    capsys.readouterr()
    assert index(shop_at_a_uri)["embedded"] == 0
    shown = capsys.readouterr().err
    assert "checking pictures" not in shown, "no picture is fetched again"
    catalog = Remote(f"{shop_at_a_uri}/shop")
    lines = (catalog.read("catalog.jsonl") or b"").splitlines(keepends=True)
    catalog.write("catalog.jsonl", b"".join(lines[:-1]))
    report = index(shop_at_a_uri)
    assert (report["removed"], report["unchanged"], report["embedded"]) == (1, 39, 0)


def test_the_service_searches_shows_pictures_and_keeps_feedback(
    shop: Shop, shop_at_a_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = shop_at_a_uri
    monkeypatch.setenv("CIRRAY_HOME", str(tmp_path / "service"))
    backend = open_index(Serving(bundle=f"{bucket}/bundle", index=f"{bucket}/index"))

    async def conversation(client: httpx.AsyncClient, _: Service) -> None:
        query = {"reference": {"id": "small-red-bar"}, "text": "make it blue"}
        hits = (await client.post("/v1/search", json=query)).json()["hits"]
        assert len(hits) > 1
        shown = await client.get("/v1/items/small-red-bar/image", params={"size": 96})
        with Image.open(BytesIO(shown.content)) as picture:
            assert (picture.format, picture.size) == ("WEBP", (64, 64))
        Remote(f"{bucket}/shop/images").delete("small-blue-bar.png")
        assert (await client.get("/v1/items/small-blue-bar/image")).status_code == 404
        with monkeypatch.context() as nobody_listens:
            nobody_listens.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
            assert (await client.get("/v1/items/small-green-bar/image")).status_code == 404
        chosen = {"reference": "small-red-bar", "texts": ["blue"], "chosen": hits[0]["id"]}
        assert (await client.post("/v1/feedback", json=chosen)).status_code == 201

    ask(shop, conversation, backend, feedback=f"{bucket}/feedback")
    assert export_triplets(f"{bucket}/feedback", tmp_path / "triplets.jsonl") == {"triplets": 1}
    (line,) = (tmp_path / "triplets.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["captions"] == ["blue"]
    assert not list(Location.parse(f"{bucket}/shop").local.rglob("*.png")), "pictures are shown from where they are"


class Slow(EdgeBackend):
    """A backend that takes its time to say what is published, as one at a far URI does, once it is told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.quick, self.asked = threading.Event(), threading.Event()
        self.quick.set()

    def published(self) -> str | None:
        if not self.quick.is_set():
            self.asked.set()
            self.quick.wait(60)
        return super().published()


def test_searches_do_not_wait_for_a_slow_place(shop: Shop) -> None:
    backend = Slow(shop.index)

    async def conversation(client: httpx.AsyncClient, _: Service) -> int:
        backend.quick.clear()
        assert await asyncio.to_thread(backend.asked.wait, 30)
        search = client.post("/v1/search", json={"reference": {"id": "small-red-bar"}})
        try:
            return (await asyncio.wait_for(search, 10)).status_code
        finally:
            backend.quick.set()

    assert ask(shop, conversation, backend, poll_s=0.05) == 200
