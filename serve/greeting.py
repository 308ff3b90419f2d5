"""What a person sees when the service is up: its address, and a request to try."""

from __future__ import annotations

import json
import os

from cirray.client import Client
from cirray.config import Serving


def greeting(settings: Serving) -> str:
    """Asks the running service for an item, and returns the address and an example."""
    host = "localhost" if settings.host in ("127.0.0.1", "0.0.0.0", "::") else settings.host
    address = f"http://{host}:{settings.port}"
    with Client(address, api_key=os.environ.get("CIRRAY_API_KEY")) as client:
        if not client.ready():
            return f"the service is up at {address}, and answers once jobs/index.py has published a catalogue"
        item = next(iter(client.items(limit=1)))
        model = client.model()
    body = json.dumps({"reference": {"id": item.id}, "text": "the same in red", "limit": 3})
    key = ' -H "X-API-Key: $CIRRAY_API_KEY"' if model.key_needed else ""
    return f"""
{model.items} items, generation {model.generation}, bundle {model.model}

  page      {address}/
  API       {address}/openapi.json
  try       curl -s {address}/v1/search{key} -H 'Content-Type: application/json' \\
                 -d '{body}'

Ctrl-C stops it."""
