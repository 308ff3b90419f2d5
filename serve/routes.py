"""The HTTP interface: from requests to calls of the service, and back."""

from __future__ import annotations

import time
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response, Security
from fastapi.responses import FileResponse, JSONResponse
from pydantic import Field, field_validator
from starlette.exceptions import HTTPException

from cirray import __version__
from cirray.client import schemas
from cirray.data.filters import Filter
from serve import openapi, problems
from serve.access import HEADER, Access, Guard
from serve.forms import read_search
from serve.limits import Deadline, LimitBody
from serve.service import Service
from serve.thumbnails import MEDIA_TYPE

SIZES = (96, 256, 512)
PAGE = FilePath(__file__).parent / "page"
_ASSETS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png"}
_POLICY = "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"


Id = Annotated[schemas.ItemId, Path(description="the catalog's own id, percent-encoded")]


class Browse(schemas.Request):
    """Query parameters of the catalog's pages."""

    limit: int = Field(50, ge=1, le=schemas.MAX_LIMIT)
    cursor: str | None = Field(
        None, description="as the page before said", pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
    )
    filter: str | None = Field(None, max_length=8192, description="a filter as JSON, as in a search")


class Thumbnail(schemas.Request):
    """Query parameters of a thumbnail."""

    size: int = Field(256, description="pixels", json_schema_extra={"enum": list(SIZES)})

    @field_validator("size")
    @classmethod
    def _is_known(cls, size: int) -> int:
        if size not in SIZES:
            raise ValueError(f"size must be one of {', '.join(map(str, SIZES))}")
        return size


def create_app(service: Service, access: Access) -> FastAPI:
    """Builds the app around a started service."""
    # No pages of FastAPI's own: they load scripts from elsewhere.
    app = FastAPI(title="cirray", version=__version__, description=openapi.DESCRIPTION, docs_url=None, redoc_url=None)
    problems.install(app)
    settings = service.settings
    app.add_middleware(LimitBody, max_bytes=int(settings.max_upload_mb * 2**20))
    app.add_middleware(Deadline, seconds=settings.timeout_s)
    app.add_middleware(Guard, access=access)  # the last one added is the first one asked
    described = [Security(HEADER)]
    _add_reading(app, service, access, described)
    _add_writing(app, service, described)
    _add_health(app, service)
    _add_page(app)
    openapi.install(app)
    return app


def _add_reading(app: FastAPI, service: Service, access: Access, guards: list[Any]) -> None:
    @app.post("/v1/search", dependencies=guards, responses=openapi.errors(404, 413, 415), tags=["search"])
    async def search(request: Request) -> schemas.SearchAnswer:
        """Searches with a reference image, a sentence, or both: composed retrieval, similar items, text search."""
        began = time.perf_counter()
        query, picture = await read_search(request)
        return await service.search(query, picture, began)

    @app.get("/v1/items", dependencies=guards, responses=openapi.errors(), tags=["catalog"])
    async def browse(query: Annotated[Browse, Query()]) -> schemas.ItemPage:
        """Pages through the catalog."""
        wanted = Filter() if query.filter is None else Filter.model_validate_json(query.filter)
        return await service.items(query.limit, query.cursor, wanted)

    @app.get(
        "/v1/items/{id:path}/image",
        dependencies=guards,
        responses={**openapi.errors(404), 200: {"content": {MEDIA_TYPE: {}}}, 304: {"description": "not modified"}},
        response_class=Response,
        tags=["catalog"],
    )
    async def image(request: Request, id: Id, query: Annotated[Thumbnail, Query()]) -> Response:
        """Returns an item's thumbnail, which fits into a square of `size` pixels."""
        if _names_an_item(request):
            return JSONResponse((await service.item(f"{id}/image")).model_dump())
        item = await service.find(id)
        headers = {"ETag": f'"{item.content[:32]}-{query.size}"', "Cache-Control": "private, max-age=3600"}
        if _has(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(await service.thumbnail(item, query.size), media_type=MEDIA_TYPE, headers=headers)

    @app.get("/v1/items/{id:path}", dependencies=guards, responses=openapi.errors(404), tags=["catalog"])
    async def item(id: Id) -> schemas.ItemAnswer:
        """Returns an item."""
        return await service.item(id)

    @app.get("/v1/model", dependencies=guards, responses=openapi.errors(), tags=["service"])
    async def model() -> schemas.ModelAnswer:
        """Says which bundle and generation are served, and what can be filtered by."""
        return service.model(access.key_needed)


def _has(request: Request, tag: str) -> bool:
    """Whether the client has this content already (RFC 9110, If-None-Match)."""
    given = [part.strip().removeprefix("W/") for part in request.headers.get("If-None-Match", "").split(",")]
    return tag in given or "*" in given


def _names_an_item(request: Request) -> bool:
    """Whether "/image" is the end of an id here: then its slash came encoded, which decoding has hidden."""
    return bytes(request.scope.get("raw_path") or b"").lower().endswith(b"%2fimage")


def _add_writing(app: FastAPI, service: Service, guards: list[Any]) -> None:
    @app.post("/v1/items/batch", dependencies=guards, responses=openapi.errors(403, 409, 413), tags=["catalog"])
    async def batch(changes: schemas.BatchWrite) -> schemas.WriteAnswer:
        """Puts items, then deletes others."""
        put = await service.put(changes.put) if changes.put else 0
        deleted = await service.delete(changes.delete) if changes.delete else 0
        return schemas.WriteAnswer(put=put, deleted=deleted)

    @app.put("/v1/items/{id:path}", dependencies=guards, responses=openapi.errors(403, 404, 409, 413), tags=["catalog"])
    async def put(id: Id, item: schemas.ItemWrite) -> schemas.WriteAnswer:
        """Adds or replaces an item."""
        return schemas.WriteAnswer(put=await service.put([schemas.ItemPut(id=id, **item.model_dump())]), deleted=0)

    @app.delete(
        "/v1/items/{id:path}",
        dependencies=guards,
        responses=openapi.errors(403, 404, 409),
        tags=["catalog"],
    )
    async def delete(id: Id) -> schemas.WriteAnswer:
        """Removes an item."""
        deleted = await service.delete([id])
        if not deleted:
            raise HTTPException(404, f"there is no item {id!r}")
        return schemas.WriteAnswer(put=0, deleted=deleted)

    @app.post(
        "/v1/feedback", dependencies=guards, responses=openapi.errors(404, 507), status_code=201, tags=["feedback"]
    )
    async def feedback(feedback: schemas.Feedback) -> schemas.FeedbackAnswer:
        """Keeps which item somebody chose for a query; `jobs/feedback.py` makes triplets of it."""
        return schemas.FeedbackAnswer(id=await service.feedback(feedback))


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["service"])
    async def healthz() -> dict[str, str]:
        """Says that the process lives."""
        return {"status": "ok"}

    @app.get("/readyz", responses=openapi.only(503), tags=["service"])
    async def readyz() -> dict[str, str]:
        """Says whether searches are answered."""
        with service.catalog.reader() as reader:
            return {"status": "ready", "generation": reader.generation.name}


def _add_page(app: FastAPI) -> None:
    headers = {
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
    }
    files = {path.name: path for path in PAGE.iterdir() if path.suffix in _ASSETS}

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers=headers)

    @app.api_route("/assets/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def asset(name: str) -> FileResponse:
        if name not in files:
            raise HTTPException(404, f"there is no {name}")
        media = _ASSETS[files[name].suffix]
        return FileResponse(files[name], media_type=media, headers=headers)
