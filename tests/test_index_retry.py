"""RetryingClient against misbehaving local servers: what is retried, and the error messages."""

from __future__ import annotations

import json
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient
from qdrant_client import grpc as wire

from cirray.config.indexing import IndexAccess, IndexShape
from cirray.data.filters import Filter
from cirray.errors import IndexUnavailableError, SearchIndexError
from cirray.index import retry
from cirray.index.backend import Generation
from cirray.index.items import Item, point_id
from cirray.index.retry import ATTEMPTS, RetryingClient
from cirray.index.server import ServerBackend, ServerReader, connect_backend

Answer = tuple[int, str, dict[str, str]] | None  # None = the connection is closed without one


def refusal(status: int, headers: dict[str, str] | None = None) -> Answer:
    return status, json.dumps({"status": {"error": f"refused with {status}"}, "time": 0.0}), headers or {}


def right(result: Any) -> str:
    return json.dumps({"result": result, "status": "ok", "time": 0.0})


RIGHT = {
    "/": json.dumps({"title": "qdrant - vector search engine", "version": "1.16.2", "commit": "abc"}),
    "/aliases": right({"aliases": [{"alias_name": "shop", "collection_name": "shop--one"}]}),
    "/collections": right({"collections": []}),
    "/collections/shop--one/points/count": right({"count": 3}),
    "/collections/shop--one/points/query/batch": right([{"points": []}]),
}


class FakeQdrant:
    """Gives the answers in `script` first, then the right ones; writes down what was asked."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.asked: list[str] = []
        self.bodies: list[Any] = []
        self.connections = 0
        self.delay_s = 0.0
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet

            def setup(self) -> None:
                fake.connections += 1
                super().setup()

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fake.asked.append(self.path.partition("?")[0])
                fake.bodies.append(json.loads(body) if body else None)
                time.sleep(fake.delay_s)
                scripted = fake.script.pop(0) if fake.script else (200, RIGHT[fake.asked[-1]], {})
                if scripted is None:
                    self.close_connection = True
                    return
                status, text, headers = scripted
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(retry, "LONGEST_WAIT_S", 0.01)


@pytest.fixture
def fake() -> Iterator[FakeQdrant]:
    server = FakeQdrant()
    yield server
    server.stop()


@pytest.fixture
def client(fake: FakeQdrant) -> Iterator[QdrantClient]:
    opened = QdrantClient(url=fake.url, check_compatibility=False)
    yield opened
    opened.close()


@pytest.fixture
def count(client: QdrantClient) -> Callable[[], int]:
    of = RetryingClient(client, "the index")
    return lambda: int(of.call("count", "shop--one", exact=True).count)


GARBAGE: Answer = (200, "<html>It works!</html>", {})
PASSING: list[Answer] = [
    refusal(503),
    refusal(502),
    refusal(504),
    refusal(408),
    refusal(429),
    refusal(429, {"Retry-After": "1"}),
    refusal(429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
    GARBAGE,
    (200, "", {}),
    (200, right({"cnt": 1}), {}),
    None,
]


@pytest.mark.parametrize("answer", PASSING)
def test_what_passes_is_tried_again(answer: Answer, fake: FakeQdrant, count: Callable[[], int]) -> None:
    fake.script = [answer] * (ATTEMPTS - 1)
    assert count() == 3
    assert len(fake.asked) == ATTEMPTS


@pytest.mark.parametrize("answer", PASSING)
def test_what_does_not_pass_is_unavailable(answer: Answer, fake: FakeQdrant, count: Callable[[], int]) -> None:
    fake.script = [answer] * ATTEMPTS
    with pytest.raises(IndexUnavailableError) as caught:
        count()
    assert len(fake.asked) == ATTEMPTS
    message = str(caught.value)
    assert message.startswith(f"the index: count failed {ATTEMPTS} times (")
    assert message.endswith("): check that Qdrant runs there and that QDRANT_URL is right")
    assert "()" not in message
    assert caught.value.__cause__ is None
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert type(again) is IndexUnavailableError
    assert str(again) == message


def test_different_failures_in_a_row(fake: FakeQdrant, count: Callable[[], int]) -> None:
    fake.script = [None, refusal(503), GARBAGE]
    assert count() == 3
    fake.script = [refusal(503), refusal(400)]
    with pytest.raises(SearchIndexError, match="refused with 400"):
        count()
    assert len(fake.asked) == 4 + 2


@pytest.mark.parametrize("status", [400, 404, 409, 422, 500])
def test_a_refusal_is_final(status: int, fake: FakeQdrant, count: Callable[[], int]) -> None:
    fake.script = [refusal(status)]
    with pytest.raises(SearchIndexError, match=rf"(?s)^the index: count: .*{status}.*refused with {status}") as caught:
        count()
    assert len(fake.asked) == 1
    assert type(caught.value) is SearchIndexError
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (type(again), str(again)) == (SearchIndexError, str(caught.value))


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_says_which_variable_to_set(status: int, fake: FakeQdrant, count: Callable[[], int]) -> None:
    fake.script = [refusal(status)]
    with pytest.raises(SearchIndexError, match=r"^the index: the key was refused: set QDRANT_API_KEY$"):
        count()
    assert len(fake.asked) == 1


def test_a_server_that_never_answers(fake: FakeQdrant, client: QdrantClient, count: Callable[[], int]) -> None:
    client.http.client._client.timeout = httpx.Timeout(0.03)  # the client itself counts in whole seconds
    fake.delay_s = 0.1
    with pytest.raises(IndexUnavailableError, match=r"failed 4 times \(ReadTimeout timed out\)"):
        count()
    fake.delay_s = 0.0
    assert count() == 3


def test_waits_grow_up_to_a_limit(fake: FakeQdrant, client: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> None:
    longest: list[float] = []
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.1)
    monkeypatch.setattr(retry, "LONGEST_WAIT_S", 1.0)
    monkeypatch.setattr("random.uniform", lambda low, high: longest.append(high) or high)
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    fake.script = [refusal(503)] * 7
    assert RetryingClient(client, "the index", 8).call("count", "shop--one", exact=True).count == 3
    assert longest == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0])


def test_a_mistake_of_ours_is_not_hidden(client: QdrantClient) -> None:
    with pytest.raises(AttributeError):
        RetryingClient(client, "the index").call("no_such_method")
    with pytest.raises(TypeError):
        RetryingClient(client, "the index").call("count")


def nobody() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_connecting_where_nobody_listens() -> None:
    with pytest.raises(IndexUnavailableError, match=r"info failed 4 times \(ConnectError .*refused\): check that"):
        connect_backend(nobody(), None, IndexAccess())


def test_connecting(fake: FakeQdrant) -> None:
    backend = connect_backend(fake.url, None, IndexAccess(collection="shop"))
    assert backend.where == f"{fake.url}, collection shop"
    assert backend.published() == "one"
    assert connect_backend(fake.url, None, IndexAccess()).published() is None


def test_connections_are_kept(fake: FakeQdrant) -> None:
    backend = connect_backend(fake.url, None, IndexAccess(collection="shop"))
    before = fake.connections
    for _ in range(20):
        backend.published()
    assert fake.connections == before


def test_connecting_with_a_wrong_key(fake: FakeQdrant) -> None:
    fake.script = [(200, RIGHT["/"], {}), refusal(401)]  # Qdrant tells its version to anybody
    with pytest.raises(SearchIndexError, match="the key was refused: set QDRANT_API_KEY"):
        connect_backend(fake.url, None, IndexAccess())


@pytest.mark.parametrize("version", ["1.15.5", "0.11.0", "1.9.0", "dev", ""])
def test_a_server_that_is_too_old(version: str, fake: FakeQdrant) -> None:
    fake.script = [(200, json.dumps({"title": "qdrant", "version": version}), {})]
    with pytest.raises(SearchIndexError, match=rf"Qdrant {version} is too old: cirray needs 1\.16 or later"):
        connect_backend(fake.url, None, IndexAccess())


@pytest.mark.parametrize("version", ["1.16.0", "1.17.1-dev", "1.100.0", "2.0.0", "1.16"])
def test_a_server_that_is_new_enough(version: str, fake: FakeQdrant) -> None:
    fake.script = [(200, json.dumps({"title": "qdrant", "version": version}), {})]
    connect_backend(fake.url, None, IndexAccess())


def generation() -> Generation:
    return Generation(name="one", image_fingerprint="ab" * 32, dim=2, settings=IndexShape(quantization="int8"))


def test_a_search_as_the_server_sees_it(fake: FakeQdrant, client: QdrantClient) -> None:
    large = generation().model_copy(update={"count": 10_000_000})  # has a graph
    reader = ServerReader(RetryingClient(client, "the index"), "shop--one", large)
    asked = Filter.model_validate({"sale": True, "price": 10, "colour": {"not": ["red", 1]}})
    assert reader.search(np.ones((1, 2), np.float32), 5, 40, asked, without=["me"]) == [[]]
    (search,), (again,) = (body["searches"] for body in fake.bodies)
    assert again == {**search, "limit": 2 * search["limit"], "params": {"exact": True}}  # the page was not full
    assert search["query"] == {"nearest": [1.0, 1.0]}
    assert search["params"]["hnsw_ef"] == 128
    assert search["params"]["quantization"] == {"rescore": True, "oversampling": 3.0}
    assert "offset" not in search
    assert search["limit"] > 45  # one more shows whether the page's last score goes on
    must, must_not = search["filter"]["must"], search["filter"]["must_not"]
    assert [condition["key"] for condition in must] == ["attributes.sale", "attributes.price"]
    assert must[0]["match"] == {"value": True}
    assert (must[1]["range"]["gte"], must[1]["range"]["lte"]) == (10, 10)
    assert must_not[0] == {"has_id": [point_id("me")]}
    assert [condition["key"] for condition in must_not[1]["should"]] == ["attributes.colour"] * 2


class FakeGrpc(grpc.GenericRpcHandler):
    """Qdrant's other port: fails with the codes in `script`, then takes the points."""

    def __init__(self) -> None:
        self.script: list[grpc.StatusCode] = []
        self.points: list[Any] = []
        self.server = grpc.server(ThreadPoolExecutor(2), handlers=[self])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def service(self, handler_call_details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self.upsert)

    def upsert(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if self.script:
            context.abort(self.script.pop(0), "not now")
        self.points.append(wire.UpsertPoints.FromString(request))
        done = wire.PointsOperationResponse(result=wire.UpdateResult(operation_id=1, status=wire.Completed), time=0.0)
        return bytes(done.SerializeToString())


@pytest.fixture
def uploads() -> Iterator[FakeGrpc]:
    fake = FakeGrpc()
    yield fake
    fake.server.stop(None).wait()


@pytest.fixture
def backend(fake: FakeQdrant, client: QdrantClient, uploads: FakeGrpc) -> Iterator[ServerBackend]:
    more = {"prefer_grpc": True, "grpc_port": uploads.port, "check_compatibility": False}
    bulk = QdrantClient(url=fake.url, timeout=5, **more)
    yield ServerBackend(client, bulk, "shop", "the index")
    bulk.close()


ITEM = Item("a/1", "a.jpg", "c", "A", {"colour": ["red"], "price": 10, "weight": 1.5, "sale": True})


def collection(metadata: dict[str, Any]) -> str:
    vectors = {"size": 2, "distance": "Cosine"}
    config = {
        "params": {"vectors": vectors},
        "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
        "optimizer_config": {
            "deleted_threshold": 0.2,
            "vacuum_min_vector_number": 1000,
            "default_segment_number": 0,
            "flush_interval_sec": 5,
        },
        "metadata": metadata,
    }
    return right(
        {"status": "green", "optimizer_status": "ok", "segments_count": 1, "config": config, "payload_schema": {}}
    )


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = {"manifest": generation().model_dump(mode="json"), "complete": True}
    monkeypatch.setitem(RIGHT, "/collections", right({"collections": [{"name": "shop--one"}]}))
    monkeypatch.setitem(RIGHT, "/collections/shop--one", collection(manifest))


@pytest.mark.usefixtures("published")
def test_uploads_go_over_grpc(backend: ServerBackend, uploads: FakeGrpc) -> None:
    code = grpc.StatusCode
    uploads.script = [code.UNAVAILABLE, code.RESOURCE_EXHAUSTED, code.DEADLINE_EXCEEDED]
    backend.put("one", [ITEM], np.array([[3.0, 4.0]], np.float32))
    (request,) = uploads.points
    assert (request.collection_name, request.wait) == ("shop--one", True)
    (point,) = request.points
    assert point.id.uuid == point_id("a/1")
    stored = point.payload
    assert stored["norm"].double_value == 5.0
    attributes = stored["attributes"].struct_value.fields
    assert attributes["price"].integer_value == 10
    assert attributes["weight"].double_value == 1.5
    assert attributes["sale"].bool_value is True
    assert [value.string_value for value in attributes["colour"].list_value.values] == ["red"]


@pytest.mark.usefixtures("published")
def test_uploads_go_by_rest_where_grpc_is_shut(
    fake: FakeQdrant, uploads: FakeGrpc, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = "/collections/shop--one/points"
    monkeypatch.setitem(RIGHT, points, right({"operation_id": 1, "status": "completed"}))
    features, shut = np.array([[3.0, 4.0]], np.float32), int(nobody().rsplit(":", 1)[1])
    connect_backend(fake.url, None, IndexAccess(collection="shop"), shut).put("one", [ITEM], features)
    assert f"gRPC port {shut} (QDRANT_GRPC_PORT) is unreachable: uploads use REST" in capsys.readouterr().err
    assert (fake.asked.count(points), len(uploads.points)) == (1, 0)
    connect_backend(fake.url, None, IndexAccess(collection="shop"), uploads.port).put("one", [ITEM], features)
    assert (fake.asked.count(points), len(uploads.points)) == (1, 1)
    assert "uploads go by REST" not in capsys.readouterr().err


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (grpc.StatusCode.UNAVAILABLE, IndexUnavailableError, r"UNAVAILABLE not now\): .* gRPC port .* \(6334\)"),
        (grpc.StatusCode.UNAUTHENTICATED, SearchIndexError, "the key was refused: set QDRANT_API_KEY"),
        (grpc.StatusCode.PERMISSION_DENIED, SearchIndexError, "the key was refused: set QDRANT_API_KEY"),
        (grpc.StatusCode.INVALID_ARGUMENT, SearchIndexError, "upsert: .*INVALID_ARGUMENT not now"),
    ],
)
def test_uploads_that_fail(
    code: grpc.StatusCode, kind: type[SearchIndexError], message: str, backend: ServerBackend, uploads: FakeGrpc
) -> None:
    uploads.script = [code] * ATTEMPTS
    with pytest.raises(SearchIndexError, match=message) as caught:
        backend.put("one", [ITEM], np.array([[3.0, 4.0]], np.float32))
    assert type(caught.value) is kind
    assert len(uploads.script) == (0 if kind is IndexUnavailableError else ATTEMPTS - 1)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


@pytest.mark.usefixtures("published")
def test_nothing_is_uploaded_or_deleted_in_vain(backend: ServerBackend, fake: FakeQdrant, uploads: FakeGrpc) -> None:
    backend.put("one", [], np.zeros((0, 2), np.float32))
    backend.delete("one", [])
    assert uploads.points == []
    assert not any("points" in path for path in fake.asked)
