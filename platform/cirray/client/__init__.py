"""The HTTP API: its schemas, its clients, and triplets from feedback."""

from cirray.client.calls import NewItem, Reference
from cirray.client.client import AsyncClient, Client
from cirray.client.errors import ServiceError
from cirray.client.schemas import Unwanted

__all__ = ["AsyncClient", "Client", "NewItem", "Reference", "ServiceError", "Unwanted"]
