"""The service on a cluster of its own while a node is lost, while the head is lost, and while the load changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from tests.support.cluster import Cluster, cluster
from tests.support.deployed import PORT, application, deploy, is_running, replicas, serve_config
from tests.support.machines import Machine
from tests.support.manifests import built, environment_of, groups_of, of_kind
from tests.support.service import Load, load_on, wait_until
from tests.support.service_fixtures import Shop, write_shop

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
IN_FLIGHT = 32
LIVENESS = "RAY_health_check_timeout_ms"
KINDS = ("ingress", "encoder")
SIZES = {"ingress_replicas": 2, "encoder_replicas": 2, "encoder_replicas_max": 2, "cpus": 1}


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A catalog with its index, in a folder that all nodes share."""
    return write_shop(tmp_path_factory.mktemp("losses") / "shop")


@pytest.fixture(scope="module")
def nodes(indexed: Shop) -> Iterator[Cluster]:
    """As in production: a head without replicas whose state is in Redis, and two workers full of four replicas."""
    (service,) = of_kind(built("production"), "RayService")
    environment = {LIVENESS: environment_of(groups_of(service)[0])[LIVENESS]}
    with cluster(indexed.bundle.parents[1], environment, redis=True) as started:
        started.add(2, 2)
        deploy(started, serve_config(indexed, **SIZES))
        yield started


@pytest.fixture(scope="module")
def bodies(indexed: Shop) -> list[dict[str, Any]]:
    """Composed searches."""
    return [{"reference": {"id": name}, "text": "the same in red"} for name in indexed.ids]


def places(nodes: Cluster) -> dict[str, list[str]]:
    """The addresses of the nodes that replicas run on."""
    return {kind: replicas(nodes, kind) for kind in KINDS}


@contextmanager
def load_on_all(addresses: list[str], bodies: list[dict[str, Any]]) -> Iterator[list[Load]]:
    """Keeps 32 searches in flight, shared by the proxies of some nodes."""
    share = IN_FLIGHT // len(addresses)
    with ExitStack() as stack:
        yield [stack.enter_context(load_on(f"http://{address}:{PORT}", bodies, share)) for address in addresses]


def answered(loads: list[Load]) -> int:
    return sum(load.statuses[200] for load in loads)


def errors(loads: list[Load]) -> list[str]:
    return [error for load in loads for error in load.errors]


def await_more(loads: list[Load], count: int, what: str) -> None:
    """Waits until so many more searches were answered."""
    wanted = answered(loads) + count
    wait_until(lambda: answered(loads) >= wanted, 120, what)


def say(record: Callable[[str, object], None], **numbers: float) -> None:
    """Keeps measured numbers: in the JUnit report, and on the screen with `pytest -s`."""
    for name, number in numbers.items():
        record(name, round(number, 1))
        print(f"{name} = {number:.1f}", end="  ", flush=True)


def kill(machine: Machine) -> None:
    machine.kill()


def cut_off(machine: Machine) -> None:
    machine.unplug()
    machine.kill()


@pytest.mark.parametrize("lose", [kill, cut_off])
def test_searches_go_on_when_a_node_is_lost(
    lose: Callable[[Machine], None],
    nodes: Cluster,
    bodies: list[dict[str, Any]],
    record_property: Callable[[str, object], None],
) -> None:
    before = places(nodes)
    assert all(len(set(addresses)) == 2 for addresses in before.values()), "no node holds all replicas of a kind"
    gone = max(before["ingress"], key=before["encoder"].count)
    (lost,) = (machine for machine in nodes.network.machines if machine.address == gone)
    others = sorted({address for addresses in before.values() for address in addresses} - {gone})

    def is_whole() -> bool:
        now = places(nodes)
        return all(len(now[kind]) == 2 and gone not in now[kind] for kind in KINDS) and is_running(nodes)

    with load_on_all(others, bodies) as loads:
        await_more(loads, 100, "answers before")
        assert not errors(loads)
        began = time.monotonic()
        lose(lost)
        nodes.add(2)  # as KubeRay does
        wait_until(is_whole, 300, "replicas in the place of the lost ones")
        whole = time.monotonic() - began
        after = len(errors(loads))
        await_more(loads, 200, "answers after")
    last = max((at for load in loads for at in load.failed_at), default=began) - began
    print(set(errors(loads)))
    say(record_property, errors=len(errors(loads)), last_error_s=last, whole_s=whole, answers=answered(loads))
    assert len(errors(loads)) == after, "no error once all replicas are back"
    assert after <= IN_FLIGHT, "only what was under way is lost"


def test_searches_go_on_while_the_head_is_lost(
    nodes: Cluster, indexed: Shop, bodies: list[dict[str, Any]], record_property: Callable[[str, object], None]
) -> None:
    workers = sorted({address for addresses in places(nodes).values() for address in addresses})
    with load_on_all(workers, bodies) as loads:
        await_more(loads, 100, "answers before")
        began = time.monotonic()
        nodes.head.kill()
        wait_until(lambda: not application(nodes), 30, "the head's end")
        count = answered(loads)
        await_more(loads, 500, "answers without a head")
        alone = time.monotonic() - began
        nodes.head.clear()
        nodes.start_head()
        wait_until(lambda: is_running(nodes), 300, "the application, as the new head knows it")
        known = time.monotonic() - began - alone
        await_more(loads, 200, "answers after")
    say(record_property, errors=len(errors(loads)), alone_s=alone, healthy_s=known, answers=answered(loads) - count)
    print(set(errors(loads)))
    assert not errors(loads), "workers answer without a head, and when it is back"

    nodes.add(4)  # as Ray's autoscaler does: new replicas run beside the old ones
    deploy(nodes, serve_config(indexed, **SIZES, name="after the head's return"))
    (address, *_) = workers
    wait_until(lambda: name_of(address) == "after the head's return", 240, "the new configuration")


def name_of(address: str) -> str:
    answer = httpx.get(f"http://{address}:{PORT}/v1/model", timeout=30)
    return str(answer.raise_for_status().json()["name"])


def test_encoders_follow_the_load(nodes: Cluster, indexed: Shop, bodies: list[dict[str, Any]]) -> None:
    scaling = {"encoder_replicas": 1, "encoder_replicas_max": 3, "scale_up_s": 1, "scale_down_s": 5}
    lasting = {"max_batch": IN_FLIGHT + 2, "batch_wait_s": 1}  # a batch that is never full: a query lasts a second
    deploy(nodes, serve_config(indexed, **{**SIZES, "ingress_replicas": 1, **scaling, **lasting}))
    wait_until(lambda: len(replicas(nodes, "encoder")) == 1, 240, "one encoder")
    (address,) = replicas(nodes, "ingress")
    with load_on(f"http://{address}:{PORT}", bodies, IN_FLIGHT) as load:
        wait_until(lambda: len(replicas(nodes, "encoder")) >= 2, 240, "a second encoder under load")
    wait_until(lambda: len(replicas(nodes, "encoder")) == 1, 240, "one encoder again")
    assert not load.errors, "no search is lost to a change of size"
