"""The HTTP API: its schemas, its clients, and feedback turned into triplets."""

from cirray.client.client import AsyncClient, Client, NewItem, ServiceError

__all__ = ["AsyncClient", "Client", "NewItem", "ServiceError"]
