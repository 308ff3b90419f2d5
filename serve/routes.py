"""The HTTP API: the app with its middleware, and the routes that read."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response, Security
from fastapi.responses import JSONResponse
from pydantic import Field, field_validator

from cirray import __version__
from cirray.client import schemas
from cirray.data.filters import Filter
from serve import openapi, problems
from serve.access import HEADER, Access, Guard
from serve.answers import item_answer
from serve.errors import NoPictureError
from serve.forms import read_search
from serve.limits import Deadline, LimitBody
from serve.page_routes import add_page
from serve.service import Service
from serve.thumbnails import MEDIA_TYPE
from serve.write_routes import Id, add_write_routes

SIZES = (96, 256, 512)


class Browse(schemas.Request):
    """Query parameters of a page of items."""

    limit: int = Field(50, ge=1, le=schemas.MAX_LIMIT)
    cursor: str | None = Field(
        None, description="cursor of the previous page", pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
    )
    filter: str | None = Field(None, max_length=8192, description="filter as JSON, as in a search")


class Thumbnail(schemas.Request):
    """Query parameters of a thumbnail."""

    number: schemas.ImageNumber = Field(0, description="which picture of the item; 0 is the main one")
    size: int = Field(256, description="pixels", json_schema_extra={"enum": list(SIZES)})

    @field_validator("size")
    @classmethod
    def _is_offered(cls, size: int) -> int:
        if size not in SIZES:
            raise ValueError(f"size must be one of {', '.join(map(str, SIZES))}")
        return size


def create_app(service: Service, access: Access) -> FastAPI:
    """Builds the app around a started service."""
    # FastAPI's documentation pages load scripts from other sites: they are off.
    app = FastAPI(title="cirray", version=__version__, description=openapi.DESCRIPTION, docs_url=None, redoc_url=None)
    problems.install(app)
    settings = service.settings
    app.add_middleware(LimitBody, max_bytes=int(settings.max_upload_mb * 2**20))
    app.add_middleware(Deadline, seconds=settings.timeout_s)
    app.add_middleware(Guard, access=access)  # added last, runs first
    guards = [Security(HEADER)]  # only describes the key in OpenAPI; the middleware `Guard` checks it
    _add_read_routes(app, service, access, guards)
    add_write_routes(app, service, guards)
    _add_health_routes(app, service)
    add_page(app)
    openapi.install(app)
    return app


def _add_read_routes(app: FastAPI, service: Service, access: Access, guards: list[Any]) -> None:
    @app.post(
        "/v1/search",
        dependencies=guards,
        responses=openapi.errors(404, 413, 415),
        openapi_extra=openapi.SEARCH_BODY,
        tags=["search"],
    )
    async def search(request: Request) -> schemas.SearchAnswer:
        """Searches with a reference image, a text, or both: composed retrieval, similar items, text search."""
        began = time.perf_counter()
        return await service.search(await read_search(request), began)

    @app.get("/v1/items", dependencies=guards, responses=openapi.errors(), tags=["catalog"])
    async def browse(query: Annotated[Browse, Query()]) -> schemas.ItemPage:
        """Returns the catalog's items page by page."""
        filter = Filter() if query.filter is None else Filter.model_validate_json(query.filter)
        return await service.browse(query.limit, query.cursor, filter)

    @app.get(
        "/v1/items/{id:path}/image",
        dependencies=guards,
        responses={**openapi.errors(404), 200: {"content": {MEDIA_TYPE: {}}}, 304: {"description": "not modified"}},
        response_class=Response,
        tags=["catalog"],
    )
    async def image(request: Request, id: Id, query: Annotated[Thumbnail, Query()]) -> Response:
        """Returns the thumbnail of an item's picture, which fits into a square of `size` pixels."""
        if _is_id_with_image(request):
            return JSONResponse(item_answer(await service.item(f"{id}/image")).model_dump())
        item = await service.item(id)
        if query.number >= len(item.pictures):
            raise NoPictureError(f"item {id!r} has {len(item.pictures)} pictures: numbers count from 0")
        content = item.pictures[query.number].content
        headers = {"ETag": f'"{content[:32]}-{query.size}"', "Cache-Control": "private, max-age=3600"}
        if _is_cached(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(await service.thumbnail(item, query.number, query.size), media_type=MEDIA_TYPE, headers=headers)

    @app.get("/v1/items/{id:path}", dependencies=guards, responses=openapi.errors(404), tags=["catalog"])
    async def item(id: Id) -> schemas.ItemAnswer:
        """Returns an item."""
        return item_answer(await service.item(id))

    @app.get("/v1/model", dependencies=guards, responses=openapi.errors(), tags=["service"])
    async def model() -> schemas.ModelAnswer:
        """Returns the served bundle and generation, and the attributes that filters can use."""
        return service.model(access.key_needed)


def _is_cached(request: Request, tag: str) -> bool:
    """Whether the client already has this content (RFC 9110, If-None-Match)."""
    given = [part.strip().removeprefix("W/") for part in request.headers.get("If-None-Match", "").split(",")]
    return tag in given or "*" in given


def _is_id_with_image(request: Request) -> bool:
    """Whether "/image" is the end of an id: then its slash was sent percent-encoded."""
    return bytes(request.scope.get("raw_path") or b"").lower().endswith(b"%2fimage")


def _add_health_routes(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["service"])
    async def healthz() -> dict[str, str]:
        """Answers while the process runs."""
        return {"status": "ok"}

    @app.get("/readyz", responses=openapi.only(503), tags=["service"])
    async def readyz() -> dict[str, str]:
        """Answers 200 when the service can search, else 503."""
        with service.catalog.reader() as reader:
            return {"status": "ready", "generation": reader.generation.name}
