"""The app and index in the test's process, with an encoder replica on the session's Ray."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI
from qdrant_client import QdrantClient
from ray import serve
from ray.serve.handle import DeploymentHandle

from cirray.config.indexing import IndexConfig
from cirray.config.recipe import load_recipe
from cirray.config.serving import Serving
from cirray.index.backend import IndexBackend
from cirray.index.build import build_index
from cirray.index.edge import EdgeBackend
from cirray.index.server import ServerBackend
from cirray.models.bundle_manifest import read_bundle
from serve.access import Access
from serve.catalog import Catalog
from serve.encoder import Encoder
from serve.remote import RemoteEncoder
from serve.routes import create_app
from serve.service import Service
from tests.support.bundles import fine_tuned, write_bundle
from tests.support.encoder_fixtures import tiny_encoder
from tests.support.small_catalog import write_small_catalog

T = TypeVar("T")


@dataclass(frozen=True)
class Shop:
    """A bundle, a catalog and its index; after `deploy`, also a handle to the encoders."""

    bundle: Path
    catalog: Path
    index: Path
    store: Path
    handle: DeploymentHandle | None = None

    @property
    def ids(self) -> list[str]:
        """The catalog's ids."""
        return [json.loads(line)["id"] for line in self.catalog.read_text(encoding="utf-8").splitlines()]

    def rebuild(self, **settings: Any) -> dict[str, Any]:
        """Runs the indexing job again."""
        return build_index(self.bundle, self.catalog, self.config(**settings))

    def config(self, **settings: Any) -> Any:
        """The configuration of the indexing job."""
        dotted = {name.replace("__", "."): value for name, value in settings.items()}
        paths = {"index.path": str(self.index), "store": str(self.store)}
        return load_recipe(IndexConfig, "default", {**paths, **dotted})


def write_shop(folder: Path, **settings: Any) -> Shop:
    """Draws the small catalog with some attributes and indexes it with a random bundle that has two text towers."""
    data = write_small_catalog(folder / "data")
    catalog = data / "catalog.jsonl"
    rows = [json.loads(line) for line in catalog.read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows):
        size, colour, shape = row["id"].split("-")
        row.update(colour=colour, shape=shape, price=number + 0.5, large=size == "large")
    catalog.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    bundle = write_bundle(folder / "bundle", encoder=fine_tuned(tiny_encoder()), pretrained=tiny_encoder())
    shop = Shop(bundle, catalog, folder / "index", folder / "store")
    shop.rebuild(**settings)
    return shop


def deploy(shop: Shop, name: str) -> Shop:
    """Starts an encoder replica for a shop's bundle, without HTTP proxies."""
    serve.start(proxy_location="Disabled")
    serving = Serving(bundle=str(shop.bundle), threads=1, poll_s=0.2)
    application = serve.deployment(Encoder, ray_actor_options={"num_cpus": 0.1}).bind(
        serving, read_bundle(shop.bundle)["image_fingerprint"]
    )
    return replace(shop, handle=serve.run(application, name=name, route_prefix=None))


def memory_backend(shop: Shop) -> ServerBackend:
    """Returns a server backend in the client's local mode, with a copy of the shop's embedded index."""
    client = QdrantClient(":memory:")
    backend = ServerBackend(client, client, "cirray", "memory")
    backend.search_threads = 1  # the local mode is not thread-safe
    embedded = EdgeBackend(shop.index)
    reader = embedded.open(embedded.published() or "")
    writer = backend.create(reader.generation)
    items = reader.items(shop.ids)
    features = reader.features(shop.ids)
    writer.upload([items[name] for name in shop.ids], np.stack([features[name] for name in shop.ids]))
    backend.publish(writer.finish({}).name)
    reader.close()
    return backend


@contextmanager
def listening(
    shop: Shop, backend: IndexBackend | None = None, key: str | None = None, **settings: Any
) -> Iterator[str]:
    """Serves on a socket from a thread of this process; yields the address."""
    serving = _serving(shop, **settings)
    service = _service(shop, serving, backend)
    app = create_app(service, Access(key))

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.close()

    app.router.lifespan_context = life
    config = uvicorn.Config(
        app, port=0, log_level="error", lifespan="on", http="h11", h11_max_incomplete_event_size=2**20
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def _serving(shop: Shop, **settings: Any) -> Serving:
    folder = shop.index.parent
    paths = {"feedback": str(folder / "feedback"), "pictures": str(folder / "pictures")}
    return Serving(bundle=str(shop.bundle), index=str(shop.index), **{**paths, **settings})


def _service(shop: Shop, serving: Serving, backend: IndexBackend | None) -> Service:
    return Service(serving, Catalog(backend or EdgeBackend(shop.index), "bundle"), RemoteEncoder(shop.handle, 30))


def ask(
    shop: Shop,
    conversation: Callable[[httpx.AsyncClient, Service], Awaitable[T]],
    backend: IndexBackend | None = None,
    key: str | None = None,
    **settings: Any,
) -> T:
    """Starts a service, runs `conversation` with a client of it, and stops the service."""

    async def run() -> T:
        serving = _serving(shop, **settings)
        service = _service(shop, serving, backend)
        await service.start()
        transport = httpx.ASGITransport(create_app(service, Access(key)), raise_app_exceptions=False)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                return await conversation(client, service)
        finally:
            await service.close()

    return asyncio.run(run())
