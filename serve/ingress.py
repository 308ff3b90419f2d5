"""The ingress deployment: validates, fetches, searches. It holds no model and imports no torch."""

from __future__ import annotations

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from cirray.config.serving import Serving
from serve.access import Access
from serve.catalog import Catalog
from serve.environment import PATIENCE, DeploymentEnvironment, open_index
from serve.remote import RemoteEncoder
from serve.routes import create_app
from serve.service import Service


@serve.ingress()
class Ingress:
    """One replica: an app and its service.

    Args:
        settings: the configuration.
        encoder: handle of the encoder deployment.
        expected: environment of the process that deployed.

    Raises:
        ConfigError: QDRANT_URL or CIRRAY_API_KEY differs between that process and this node.
    """

    async def __init__(  # type: ignore[misc]
        self, settings: Serving, encoder: DeploymentHandle, expected: DeploymentEnvironment
    ) -> None:
        backend = open_index(settings)
        expected.check(DeploymentEnvironment.of(backend))
        catalog = Catalog(backend, settings.bundle)
        self._service = Service(settings, catalog, RemoteEncoder(encoder, settings.timeout_s * PATIENCE))
        await self._service.start()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Ray Serve after the constructor."""
        return create_app(self._service, Access.from_environment())

    def check_health(self) -> None:
        """Called by Ray Serve at intervals; an answer means that this process runs."""

    async def __del__(self) -> None:
        await self._service.close()
