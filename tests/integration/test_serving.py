"""The whole service as its users run it: processes, load, swaps and losses."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from cirray.client import Client
from cirray.config.evaluation import EvaluateConfig
from cirray.config.recipe import load_recipe
from cirray.data.load import load_dataset
from cirray.evaluation.bundle import evaluate_bundle
from cirray.storage.location import Location
from tests.support.bundles import write_bundle
from tests.support.encoder_fixtures import make_encoder
from tests.support.service import Running, load_on, wait_until
from tests.support.service_fixtures import Shop

pytestmark = pytest.mark.slow
IN_FLIGHT = 32


def point_bundle(shop: Shop, name: str) -> None:
    """Moves the link that the service watches, in one step."""
    folder = shop.index.parent
    (folder / "next").symlink_to(name)
    (folder / "next").replace(folder / "current")


def model(service: Running) -> dict[str, Any]:
    answer: dict[str, Any] = service.get("/v1/model").json()
    return answer


def test_the_printed_request_finds_something(service: Running) -> None:
    printed = re.search(r"try +(curl.*\n.*)\n", service.log.read_text())
    assert printed
    done = subprocess.run(["bash", "-c", printed[1]], capture_output=True, text=True, timeout=60, check=True)
    answer = json.loads(done.stdout)
    assert answer["kind"] == "composed"
    assert len(answer["hits"]) == 3


def test_all_ingress_replicas_search_one_embedded_generation(service: Running, own_shop: Shop) -> None:
    replicas = service.replicas("ingress")
    assert len(replicas) == 2
    shard = own_shop.index / "generations" / model(service)["generation"] / "shard"
    for replica in replicas:
        assert str(shard) in Path(f"/proc/{replica.pid}/maps").read_text(), "its files are mapped, not copied"


def test_recall_over_http_is_that_of_the_evaluation(service: Running, own_shop: Shop) -> None:
    settings = {"data.root": str(own_shop.catalog.parent), "store": str(own_shop.store)}
    config = load_recipe(EvaluateConfig, "default", settings)
    report, _ = evaluate_bundle(own_shop.bundle, config, "val")
    (expected,) = [row for row in report["results"] if row["combining"] == "combiner"]
    triplets = load_dataset(config.data, Location.parse(own_shop.store), "white", ("val",)).splits["val"].triplets
    ranks = []
    with Client(service.address) as client:
        for triplet in triplets:
            first, *others = triplet.captions
            answer = client.search(triplet.reference, text=first, refinements=others, limit=40, include_reference=True)
            ranks.append([hit.id for hit in answer.hits].index(triplet.target or ""))
    found = {k: 100 * sum(rank < int(k) for rank in ranks) / len(ranks) for k in expected["recall"]}
    assert found == pytest.approx(expected["recall"], abs=1e-4)


def test_clients_that_hang_up_leave_nothing_behind(service: Running, own_shop: Shop) -> None:
    async def hang_up() -> None:
        async with httpx.AsyncClient(base_url=service.address, timeout=0.004) as client:
            bodies = [{"reference": {"id": name}, "text": f"like {name}"} for name in own_shop.ids]
            sent = [client.post("/v1/search", json=body) for body in bodies]
            answers = await asyncio.gather(*sent, return_exceptions=True)
            assert any(isinstance(answer, httpx.TimeoutException) for answer in answers)

    before = {replica.pid for kind in ("ingress", "encoder") for replica in service.replicas(kind)}
    asyncio.run(hang_up())
    assert service.search({"text": "red"}).status_code == 200
    assert {replica.pid for kind in ("ingress", "encoder") for replica in service.replicas(kind)} == before


def test_a_bundle_with_another_image_tower_is_refused(service: Running, own_shop: Shop) -> None:
    before = model(service)["model"]
    write_bundle(own_shop.index.parent / "other", encoder=make_encoder(seed=5))
    point_bundle(own_shop, "other")
    notices: list[str] = []

    def is_refused() -> bool:
        notices.extend(model(service)["notices"])  # one replica may tell of it before another one does
        return bool(notices)

    wait_until(is_refused, 120, "a notice of the refusal")
    assert "another image tower" in notices[0]
    assert service.search({"text": "red"}).json()["model"] == before
    point_bundle(own_shop, "bundle")
    wait_until(lambda: not model(service)["notices"], 120, "the end of the notice")


def test_publishing_swapping_and_killing_under_load_lose_no_request(service: Running, own_shop: Shop) -> None:
    kept = [name for name in own_shop.ids if "triangle" not in name]
    bodies = [{"reference": {"id": name}, "text": f"make it {word}"} for name in kept for word in ("red", "large")]
    first = model(service)
    write_bundle(own_shop.index.parent / "second", seed=1)
    with load_on(service.address, bodies) as load:
        wait_until(lambda: load.statuses[200] > 100, 180, "warming up")

        lines = [line for line in own_shop.catalog.read_text().splitlines() if "triangle" not in line]
        own_shop.catalog.write_text("\n".join(lines) + "\n")
        report = own_shop.rebuild()
        assert report["removed"] == 10
        wait_until(lambda: load.generations[report["generation"]] > 50, 180, "the new generation")

        point_bundle(own_shop, "second")
        wait_until(lambda: set(load.models) != {first["model"]}, 180, "the new bundle")

        replicas = service.replicas("encoder")
        replicas[0].send_signal(signal.SIGKILL)
        answered = load.statuses[200]
        wait_until(lambda: load.statuses[200] > answered + 200, 180, "answers after the kill")
        wait_until(lambda: len(service.replicas("encoder")) == 2, 120, "another replica in its place")
        time.sleep(2)
    assert set(load.statuses) == {200}, load.errors[:3]
    assert not load.errors
    assert len(load.generations) == len(load.models) == 2
