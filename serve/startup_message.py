"""The message printed when the service runs: its address, and a request to try."""

from __future__ import annotations

import json
import os

from cirray.client import Client, ServiceError
from cirray.config.serving import Serving

STOP = "Ctrl-C stops it."


def greeting(settings: Serving) -> str:
    """Returns the address and an example request, or a note that the service is not ready."""
    host = "localhost" if settings.host in ("127.0.0.1", "0.0.0.0", "::", "::1") else settings.host
    address = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    try:
        return f"{_example(address)}\n\n{STOP}"
    except ServiceError as error:
        return f"the service runs at {address}, but does not answer yet: {error}\n{STOP}"


def _example(address: str) -> str:
    with Client(address, api_key=os.environ.get("CIRRAY_API_KEY")) as client:
        if not client.ready():
            return f"the service runs at {address}; it can search once jobs/index.py has published a catalog"
        model = client.model()
        item = next(iter(client.items(limit=1)), None)
    query = {"text": "red"} if item is None else {"reference": {"id": item.id}, "text": "the same in red"}
    key = ' -H "X-API-Key: $CIRRAY_API_KEY"' if model.key_needed else ""
    return f"""
{model.items} items, generation {model.generation}, bundle {model.model}

  page      {address}/
  API       {address}/openapi.json
  try       curl -s {address}/v1/search{key} -H 'Content-Type: application/json' \\
                 -d '{json.dumps({**query, "limit": 3})}'"""
