from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from PIL import Image
from pydantic import ValidationError

from cirray.client import AsyncClient, Client, NewItem, Reference, ServiceError, Unwanted, calls, schemas, transport
from cirray.errors import ConfigError, DataError

ITEM = {"id": "a/b", "title": "A", "attributes": {"price": 3}, "image": "/v1/items/a%2Fb/image"}
FOUND = {
    "hits": [{**ITEM, "score": 0.5}],
    "text_weight": 0.4,
    "kind": "composed",
    "generation": "g",
    "model": "m",
    "timings_ms": {"read": 1, "reference": 1, "encode": 1, "search": 1, "total": 4},
}
WRITTEN = {"put": 1, "deleted": 0}


class Service:
    """A service that notes what it is asked and answers what a test has laid ready, oldest first."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[SimpleNamespace] = []
        self.answers: list[Response] = []

    def answer(self, body: Any, status: int = 200, **headers: str) -> None:
        """Lays an answer ready."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append(Response(content, status, {name.replace("_", "-"): text for name, text in headers.items()}))

    async def note(self, request: Request) -> Response:
        """Notes a request and answers it."""
        form: dict[str, Any] = {}
        body = b""
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            async with request.form() as fields:
                form = {**fields, "image": await fields["image"].read()}
        else:
            body = await request.body()
        self.requests.append(
            SimpleNamespace(
                line=f"{request.method} {request.scope['raw_path'].decode()}",
                query=dict(request.query_params),
                key=request.headers.get("x-api-key"),
                form=form,
                json=json.loads(body) if body else None,
            )
        )
        return self.answers.pop(0)


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    service = Service()
    app = FastAPI()
    app.add_api_route("/{path:path}", service.note, methods=["GET", "POST", "PUT", "DELETE"])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    service.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield service
    server.should_exit = True
    thread.join()


@pytest.fixture
def service(running: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.delenv("CIRRAY_API_KEY", raising=False)
    running.requests.clear()
    running.answers.clear()
    return running


@pytest.fixture
def cirray(service: Service) -> Iterator[Client]:
    with Client(service.url) as opened:
        yield opened


@pytest.fixture
def closing() -> Iterator[SimpleNamespace]:
    """A server that closes every connection without an answer, and counts them."""
    seen = SimpleNamespace(count=0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        seen.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def close_all() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    if connection.recv(65536) == b"stop":
                        return
                    seen.count += 1

        thread = threading.Thread(target=close_all)
        thread.start()
        yield seen
        with socket.create_connection(listener.getsockname()) as last:
            last.sendall(b"stop")
        thread.join()


def test_a_search_by_id_is_sent_as_json_and_answered_with_types(service, cirray):
    service.answer({**FOUND, "new_field": 1})
    answer = cirray.search("a/b", text="in red", filter={"price": {"lt": 5}, "colour": {"not": "black"}}, limit=3)
    assert isinstance(answer, schemas.SearchAnswer)
    assert (answer.hits[0].id, answer.hits[0].score, answer.text_weight) == ("a/b", 0.5, 0.4)
    assert service.requests[0].line == "POST /v1/search"
    assert service.requests[0].json == {
        "reference": {"id": "a/b"},
        "text": "in red",
        "filter": {"price": {"lt": 5}, "colour": {"not": "black"}},
        "limit": 3,
    }
    schemas.SearchRequest.model_validate(service.requests[0].json)


def test_a_picture_of_an_item_is_chosen_by_number(service, cirray):
    images = ["/v1/items/a%2Fb/image", "/v1/items/a%2Fb/image?number=1"]
    product = {"group": "a", "images": images, "image": images[1], "image_number": 1}
    service.answer({**FOUND, "hits": [{**ITEM, **product, "score": 0.5}]})
    (hit,) = cirray.search("a/b", image_number=1).hits
    assert service.requests[0].json == {"reference": {"id": "a/b", "image_number": 1}}
    assert (hit.group, hit.images, hit.image, hit.image_number) == ("a", images, images[1], 1)
    service.answer(b"webp")
    assert cirray.thumbnail("a/b", 96, number=1) == b"webp"
    assert service.requests[1].query == {"size": "96", "number": "1"}
    with pytest.raises(ServiceError, match="image_number belongs to an id"):
        cirray.search(picture=b"pixels", image_number=1)


def test_a_search_may_be_reranked(service, cirray):
    hits = [{**ITEM, "score": 0.5, "rerank_score": 1.5}, {**ITEM, "score": 0.4}]
    service.answer({**FOUND, "hits": hits, "timings_ms": {**FOUND["timings_ms"], "rerank": 2}})
    answer = cirray.search("a/b", text="in red", rerank=30)
    assert service.requests[0].json == {"reference": {"id": "a/b"}, "text": "in red", "rerank": {"top": 30}}
    assert [hit.rerank_score for hit in answer.hits] == [1.5, None]
    assert answer.timings_ms.rerank == 2
    service.answer(FOUND)  # of a service that does not know reranking
    assert cirray.search(picture=b"pixels", text="in red", rerank=30).timings_ms.rerank == 0
    assert service.requests[1].form == {"image": b"pixels", "text": "in red", "rerank": '{"top": 30}'}
    with pytest.raises(ServiceError, match=r"rerank\.top: Input should be less than or equal to 200"):
        cirray.search("a/b", text="in red", rerank=201)


def test_a_search_by_picture_is_sent_as_a_form(service, cirray, tmp_path):
    service.answer(FOUND)
    (tmp_path / "dress.jpg").write_bytes(b"pixels")
    cirray.search(
        picture=tmp_path / "dress.jpg",
        text='"in red"',
        refinements=["longer"],
        text_weight=0.25,
        filter={"new": True},
        offset=2,
        include_reference=True,
    )
    assert service.requests[0].form == {
        "image": b"pixels",
        "text": '"in red"',
        "refinements": '["longer"]',
        "text_weight": "0.25",
        "filter": '{"new": true}',
        "offset": "2",
        "include_reference": "true",
    }


def test_several_references_and_what_is_not_wanted_are_sent_as_json(service, cirray):
    service.answer(FOUND)
    references = [Reference("a/b", text="all but the color"), Reference(picture=b"pixels", weight=2, text="the color")]
    cirray.search(references=references, unwanted=[Unwanted(text="stripes"), Unwanted(id="c", image_number=1)])
    assert service.requests[0].json == {
        "references": [
            {"id": "a/b", "text": "all but the color"},
            {"image": base64.b64encode(b"pixels").decode(), "text": "the color", "weight": 2.0},
        ],
        "not": [{"text": "stripes"}, {"id": "c", "image_number": 1}],
    }
    sent = schemas.SearchRequest.model_validate(service.requests[0].json)
    assert sent.references[1].image == b"pixels"
    service.answer(FOUND)
    cirray.search(picture=b"pixels", text="in red", unwanted=[Unwanted(text="stripes")])
    assert service.requests[1].form == {"image": b"pixels", "text": "in red", "not": '[{"text": "stripes"}]'}


def test_a_picture_in_a_request_is_bytes_and_base64_in_json():
    request = schemas.SearchRequest(reference={"image": b"pixels"}, text="in red", text_weight=0.5)
    assert request.reference.image == b"pixels"
    sent = json.loads(request.model_dump_json())
    assert sent["reference"]["image"] == base64.b64encode(b"pixels").decode()
    assert schemas.SearchRequest.model_validate(sent) == request


@pytest.mark.parametrize("image", ["", "$$$", "aGFsbG8", "aGFs$bG8=", "h\u00e9", 5, True, b""])
def test_what_is_no_picture_in_base64_is_refused(image):
    with pytest.raises(ValidationError):
        schemas.Reference.model_validate({"image": image})


def test_a_pil_image_is_sent_upright_as_png_whatever_its_mode(service, cirray):
    image = Image.new("CMYK", (4, 2))
    image.getexif()[0x0112] = 6  # turned by 90 degrees
    service.answer(FOUND)
    cirray.search(picture=image)
    with Image.open(BytesIO(service.requests[0].form["image"])) as sent:
        assert (sent.format, sent.mode, sent.size) == ("PNG", "RGB", (2, 4))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({}, "give a reference, a text, or both"),
        ({"reference": "a", "picture": b"x"}, "reference: .*give either id or image"),
        ({"reference": "a", "references": [Reference("b")]}, "give either reference or references"),
        ({"references": [Reference("b"), Reference()]}, r"references\[1\]: give either id or image"),
        ({"references": [Reference("b", image_number=-1)]}, r"references\[0\].image_number: "),
        ({"text": "x", "limit": 0}, "limit: .*greater than or equal to 1"),
        ({"text": "x", "refinements": "longer"}, "refinements: .*list"),
    ],
)
def test_a_query_that_the_service_would_refuse_is_not_sent(service, cirray, query, said):
    with pytest.raises(ServiceError, match=said):
        cirray.search(**query)
    assert service.requests == []


def test_items_are_fetched_page_by_page(service, cirray):
    service.answer({"items": [ITEM, ITEM], "cursor": "next", "total": 3})
    service.answer({"items": [ITEM], "cursor": None, "total": 3})
    assert len(list(cirray.items({"price": {"gte": 1}}, limit=2))) == 3
    first = {"limit": "2", "filter": '{"price": {"gte": 1}}'}
    assert [request.query for request in service.requests] == [first, {**first, "cursor": "next"}]


@pytest.mark.parametrize(("id", "path"), [("a/b c%é", "a%2Fb%20c%25%C3%A9"), ("..", "%2E%2E"), ("a.jpg", "a.jpg")])
def test_ids_are_one_part_of_the_path(service, cirray, id, path):
    service.answer(ITEM)
    service.answer(b"jpeg")
    assert cirray.item(id) == schemas.ItemAnswer(**ITEM)
    assert cirray.thumbnail(id, size=64) == b"jpeg"
    assert [request.line for request in service.requests] == [f"GET /v1/items/{path}", f"GET /v1/items/{path}/image"]
    assert service.requests[1].query == {"size": "64"}


@pytest.mark.parametrize("id", ["", "a\nb", "i" * 513])
def test_ids_that_no_item_can_have_are_not_sent(service, cirray, id):
    with pytest.raises(ServiceError, match="cannot be sent"):
        cirray.delete(id)
    assert service.requests == []


def test_items_are_put_and_deleted(service, cirray):
    service.answer(WRITTEN)
    service.answer({"put": 0, "deleted": 1})
    assert cirray.put("a/b", b"pixels", "A", {"price": 3, "tags": ["x"]}).put == 1
    assert cirray.delete("a/b").deleted == 1
    assert [request.line for request in service.requests] == ["PUT /v1/items/a%2Fb", "DELETE /v1/items/a%2Fb"]
    image = base64.b64encode(b"pixels").decode()
    assert service.requests[0].json == {"image": image, "title": "A", "attributes": {"price": 3, "tags": ["x"]}}


def test_many_items_are_put_in_batches_of_few_items_and_few_bytes(service, cirray, monkeypatch):
    monkeypatch.setattr(calls, "BATCH_BYTES", 1000)
    items = [NewItem(f"small{i}", b"pixels") for i in range(schemas.MAX_BATCH + 1)] + [NewItem("large", b"x" * 2000)]
    for _ in range(3):
        service.answer(WRITTEN)
    assert cirray.put_many(items) == schemas.WriteAnswer(put=3, deleted=0)
    assert [len(request.json["put"]) for request in service.requests] == [schemas.MAX_BATCH, 1, 1]
    assert service.requests[2].json["put"][0]["id"] == "large"


def test_feedback_and_model_have_their_types(service, cirray):
    service.answer({"id": "f1"})
    model = {"name": "n", "model": "m", "backbone": "b", "combining": "sum", "dim": 4, "metrics": {}, "generation": "g"}
    counts = {"items": 3, "attributes": [], "writable": True, "key_needed": False, "notices": []}
    service.answer({**model, **counts})
    assert cirray.feedback("a", texts=["in red"], generation="g").id == "f1"
    assert cirray.model().items == 3
    assert service.requests[0].json == {"chosen": "a", "texts": ["in red"], "generation": "g"}


def test_a_service_is_ready_or_not_without_waiting(service, cirray):
    service.answer({})
    service.answer({}, status=503, Retry_After="20")
    assert [cirray.ready(), cirray.ready()] == [True, False]


def test_the_key_comes_from_the_argument_or_the_environment(service, monkeypatch):
    monkeypatch.setenv("CIRRAY_API_KEY", "from-environment\n")
    for key in (None, "given", ""):
        service.answer({})
        with Client(service.url, api_key=key) as cirray:
            cirray.ready()
    assert [request.key for request in service.requests] == ["from-environment", "given", None]


def test_a_key_that_no_header_can_have_is_refused_without_showing_it():
    with pytest.raises(ConfigError, match="API key") as caught:
        Client("http://localhost", api_key="secret\nkey")
    assert "secret" not in str(caught.value)


def test_what_the_service_says_is_in_the_error(service, cirray):
    problem = {"title": "Not found", "status": 404, "detail": "there is no item x", "type": "about:blank"}
    service.answer(problem, status=404)
    with pytest.raises(ServiceError, match="404: Not found: there is no item x") as caught:
        cirray.item("x")
    assert (caught.value.status, caught.value.problem) == (404, schemas.Problem(**problem))


def test_an_error_that_is_no_problem_is_an_error_too(service, cirray):
    service.answer(b"<html>", status=502)
    with pytest.raises(ServiceError, match="answered with 502: Bad Gateway") as caught:
        cirray.model()
    assert (caught.value.status, caught.value.problem) == (502, None)


def test_an_answer_of_something_else_is_an_error(service, cirray):
    service.answer(b"<html>")
    with pytest.raises(ServiceError, match="is a cirray service at"):
        cirray.model()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again_even_for_writes(service, cirray, status):
    service.answer({}, status=status, Retry_After="0")
    service.answer({}, status=status, Retry_After="0")
    service.answer(WRITTEN)
    assert cirray.put("a", b"pixels").put == 1
    assert len(service.requests) == 3


def test_a_busy_service_is_not_asked_for_ever_nor_without_its_wish(service):
    for _ in range(2):
        service.answer({}, status=503, Retry_After="0")
    service.answer({}, status=503)
    with Client(service.url, retries=1) as cirray:
        for _ in range(2):
            with pytest.raises(ServiceError, match="503"):
                cirray.model()
    assert len(service.requests) == 3


def test_a_wait_is_bounded(service, cirray, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    service.answer({}, status=429, Retry_After="3600")
    service.answer(FOUND)
    cirray.search(text="red")
    assert waits == [30.0]


def test_only_what_reads_is_sent_again_when_no_answer_came(closing, monkeypatch):
    monkeypatch.setattr(transport, "FIRST_WAIT_S", 0.0)
    counts = []
    with Client(closing.url, retries=2) as cirray:
        calls = (
            cirray.model,
            lambda: cirray.search(text="red"),
            lambda: cirray.put("a", b"x"),
            lambda: cirray.delete("a"),
        )
        for call in calls:
            before = closing.count
            with pytest.raises(ServiceError, match="cannot be reached"):
                call()
            counts.append(closing.count - before)
    assert counts == [3, 3, 1, 1]


def test_a_service_that_hangs_is_an_error_in_words():
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.05) as cirray,
        pytest.raises(ServiceError, match="did not answer in time") as caught,
    ):
        cirray.model()
    assert caught.value.status is None


@pytest.mark.parametrize("url", ["localhost:8000", "http://", "http://a:port", ""])
def test_an_address_that_is_none_is_refused_at_once(url):
    with pytest.raises(ConfigError, match="base_url"):
        Client(url)


def test_a_picture_file_that_cannot_be_read_is_named(cirray, tmp_path):
    with pytest.raises(DataError, match=r"missing\.jpg cannot be read: No such file"):
        cirray.put("a", str(tmp_path / "missing.jpg"))


def test_the_async_client_does_the_same(service):
    service.answer(FOUND)
    service.answer({}, status=503, Retry_After="0")
    service.answer({"items": [ITEM], "cursor": "next", "total": 2})
    service.answer({"items": [ITEM], "cursor": None, "total": 2})
    service.answer(ITEM)
    service.answer(b"jpeg")
    for _ in range(3):
        service.answer(WRITTEN)
    service.answer({"id": "f1"})
    service.answer({}, status=503)
    service.answer({"title": "Gone", "status": 410, "detail": "gone"}, status=410)

    async def use() -> None:
        async with AsyncClient(service.url, api_key="k") as cirray:
            assert (await cirray.search(picture=b"pixels", text="red", rerank=30)).hits[0].id == "a/b"
            assert [item.id async for item in cirray.items()] == ["a/b", "a/b"]
            assert (await cirray.item("a/b")).title == "A"
            assert await cirray.thumbnail("a/b") == b"jpeg"
            assert (await cirray.put("a/b", b"pixels")).put == 1
            assert (await cirray.put_many([NewItem("a", b"pixels")])).put == 1
            assert (await cirray.delete("a/b")).put == 1
            assert (await cirray.feedback("a", reference="b")).id == "f1"
            assert not await cirray.ready()
            with pytest.raises(ServiceError, match="Gone: gone"):
                await cirray.model()

    asyncio.run(use())
    assert service.requests[0].form == {"image": b"pixels", "text": "red", "rerank": '{"top": 30}'}
    assert {request.key for request in service.requests} == {"k"}
    assert [request.line for request in service.requests][1:4] == ["GET /v1/items"] * 3


def test_both_clients_have_the_same_methods():
    def methods(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert methods(Client) == methods(AsyncClient)
