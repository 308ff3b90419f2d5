"""The HTTP API: its schemas, its clients, and triplets from feedback."""

from cirray.client.calls import NewItem
from cirray.client.client import AsyncClient, Client
from cirray.client.errors import ServiceError

__all__ = ["AsyncClient", "Client", "NewItem", "ServiceError"]
