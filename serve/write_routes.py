"""Routes that change something: items and feedback."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Path
from starlette.exceptions import HTTPException

from cirray.client import schemas
from serve import openapi
from serve.service import Service

Id = Annotated[schemas.ItemId, Path(description="id of the item, percent-encoded")]


def add_write_routes(app: FastAPI, service: Service, guards: list[Any]) -> None:
    """Adds the routes to an app.

    Args:
        guards: dependencies of every route.
    """

    @app.post("/v1/items/batch", dependencies=guards, responses=openapi.errors(403, 409, 413), tags=["catalog"])
    async def batch(changes: schemas.BatchWrite) -> schemas.WriteAnswer:
        """Puts items, then deletes others."""
        put = await service.writer.put(changes.put) if changes.put else 0
        deleted = await service.writer.delete(changes.delete) if changes.delete else 0
        return schemas.WriteAnswer(put=put, deleted=deleted)

    @app.put("/v1/items/{id:path}", dependencies=guards, responses=openapi.errors(403, 404, 409, 413), tags=["catalog"])
    async def put(id: Id, item: schemas.ItemWrite) -> schemas.WriteAnswer:
        """Adds or replaces an item."""
        put = await service.writer.put([schemas.ItemPut(id=id, **item.model_dump())])
        return schemas.WriteAnswer(put=put, deleted=0)

    @app.delete("/v1/items/{id:path}", dependencies=guards, responses=openapi.errors(403, 404, 409), tags=["catalog"])
    async def delete(id: Id) -> schemas.WriteAnswer:
        """Deletes an item."""
        deleted = await service.writer.delete([id])
        if not deleted:
            raise HTTPException(404, f"there is no item {id!r}")
        return schemas.WriteAnswer(put=0, deleted=deleted)

    @app.post(
        "/v1/feedback", dependencies=guards, responses=openapi.errors(404, 507), status_code=201, tags=["feedback"]
    )
    async def feedback(feedback: schemas.Feedback) -> schemas.FeedbackAnswer:
        """Stores which item a person chose for a query; `jobs/feedback.py` makes triplets of it."""
        return schemas.FeedbackAnswer(id=await service.feedback(feedback))
