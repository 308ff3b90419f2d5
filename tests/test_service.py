"""The HTTP interface over a real index and a real encoder replica."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

import cirray
from cirray.data.captions import query_caption
from cirray.errors import ConfigError
from cirray.index.edge import EdgeBackend
from serve.access import Access
from serve.environment import DeploymentEnvironment
from serve.service import Service
from tests.support.service_fixtures import Shop, ask, memory_backend, write_shop

Conversation = Callable[[httpx.AsyncClient, Service], Awaitable[Any]]
KEY = "a-key"
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]
REFERENCE = "small-red-bar"


def post(shop: Shop, body: Any, **options: Any) -> httpx.Response:
    """Sends one search."""
    return send(shop, "POST", "/v1/search", json=body, **options)


def send(shop: Shop, method: str, path: str, *, backend: Any = None, key: str | None = None, **options: Any) -> Any:
    """Sends one request to a service of its own."""

    async def conversation(client: httpx.AsyncClient, _: Service) -> httpx.Response:
        return await client.request(method, path, **options)

    return ask(shop, conversation, backend, key)


def counts(shop: Shop) -> Any:
    """How much the encoder replica has done so far."""
    assert shop.handle is not None
    return shop.handle.counts.remote().result(timeout_s=30)


def picture(shop: Shop, name: str = REFERENCE) -> bytes:
    return (shop.catalog.parent / "images" / f"{name}.png").read_bytes()


def by_hand(shop: Shop, texts: tuple[str, ...], reference: str | None = REFERENCE) -> list[tuple[str, float]]:
    """Ranks the catalog with the bundle alone: no index, no service."""
    model = cirray.load(shop.bundle)
    files = {name: shop.catalog.parent / "images" / f"{name}.png" for name in shop.ids}
    gallery = model.encode_image(list(files.values()))
    if reference is None:
        query = model.encode_text(query_caption(texts))
    else:
        query = (
            model.encode_query(files[reference], query_caption(texts))
            if texts
            else model.encode_image(files[reference])
        )
    scores = (query @ gallery.T)[0].tolist()
    return sorted(zip(shop.ids, scores, strict=True), key=lambda pair: -pair[1])


def assert_ranked(hits: list[dict[str, Any]], expected: list[tuple[str, float]]) -> None:
    """Same scores in the same places; items whose scores are closer than float32 may have changed places."""
    scores = dict(expected)
    assert [hit["score"] for hit in hits] == pytest.approx([score for _, score in expected[: len(hits)]], abs=1e-5)
    assert all(hit["score"] == pytest.approx(scores[hit["id"]], abs=1e-5) for hit in hits)


@pytest.mark.parametrize("texts", [("make it blue",), ("make it blue", "large"), ()])
def test_hits_are_those_of_the_bundle_alone(shop: Shop, texts: tuple[str, ...]) -> None:
    body: dict[str, Any] = {"reference": {"id": REFERENCE}, "limit": 40, "include_reference": True}
    if texts:
        body |= {"text": texts[0], "refinements": list(texts[1:])}
    answer = post(shop, body).json()
    assert answer["kind"] == ("composed" if texts else "similar")
    assert len(answer["hits"]) == 40
    assert_ranked(answer["hits"], by_hand(shop, texts))


def test_text_alone_is_text_search(shop: Shop) -> None:
    answer = post(shop, {"text": "a red square", "limit": 40}).json()
    assert (answer["kind"], answer["text_weight"]) == ("text", None)
    assert_ranked(answer["hits"], by_hand(shop, ("a red square",), None))


def test_a_picture_finds_what_its_item_finds(shop: Shop) -> None:
    common = {"text": "make it blue", "limit": 40, "include_reference": True}
    by_id = post(shop, {**common, "reference": {"id": REFERENCE}}).json()
    encoded = base64.b64encode(picture(shop)).decode()
    in_json = post(shop, {**common, "reference": {"image": encoded}}).json()
    form = {name: str(value) for name, value in common.items()}
    in_form = send(shop, "POST", "/v1/search", data=form, files={"image": picture(shop)}).json()
    for answer in (in_json, in_form):
        assert_ranked(answer["hits"], [(hit["id"], hit["score"]) for hit in by_id["hits"]])
        assert answer["text_weight"] == pytest.approx(by_id["text_weight"], abs=1e-5)


def test_a_form_takes_all_that_json_takes(shop: Shop) -> None:
    form = {"id": REFERENCE, "text": "blue", "refinements": '["large"]', "weight": "0.5", "filter": '{"large": true}'}
    answer = send(shop, "POST", "/v1/search", files={name: (None, value) for name, value in form.items()})
    body = {"reference": {"id": REFERENCE}, "text": "blue", "refinements": ["large"], "weight": 0.5}
    expected = post(shop, {**body, "filter": {"large": True}})
    assert answer.json()["hits"] == expected.json()["hits"]


def test_a_query_by_id_runs_no_image_tower(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> None:
        for text in ("make it blue", None):
            body = {"reference": {"id": REFERENCE}, **({"text": text} if text else {})}
            assert (await client.post("/v1/search", json=body)).status_code == 200

    before = counts(shop)
    ask(shop, conversation)
    after = counts(shop)
    assert after.images == before.images
    assert after.texts == before.texts + 1  # the composed one; the other is answered by its stored feature alone
    post(shop, {"reference": {"image": base64.b64encode(picture(shop)).decode()}})
    assert counts(shop).images == before.images + 1


def test_queries_that_come_together_are_encoded_together(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> list[httpx.Response]:
        bodies = [{"reference": {"id": name}, "text": f"make it {name}", "limit": 3} for name in shop.ids[:24]]
        return await asyncio.gather(*(client.post("/v1/search", json=body) for body in bodies))

    before = counts(shop)
    together = [answer.json()["hits"] for answer in ask(shop, conversation)]
    after = counts(shop)
    assert after.texts - before.texts == 24
    assert after.text_batches - before.text_batches < 24
    alone = [post(shop, {"reference": {"id": name}, "text": f"make it {name}", "limit": 3}) for name in shop.ids[:2]]
    for one, batched in zip(alone, together, strict=False):
        assert_ranked(batched, [(hit["id"], hit["score"]) for hit in one.json()["hits"]])


@pytest.mark.parametrize("text_weight", [0.0, 0.3, 1.0])
def test_a_given_text_weight_replaces_the_combiners(shop: Shop, text_weight: float) -> None:
    body = {
        "reference": {"id": REFERENCE},
        "text": "blue",
        "text_weight": text_weight,
        "limit": 3,
        "include_reference": True,
    }
    answer = post(shop, body).json()
    assert answer["text_weight"] == pytest.approx(text_weight)
    model = cirray.load(shop.bundle)
    image = model.encode_image(shop.catalog.parent / "images" / f"{REFERENCE}.png", normalize=False)
    text = model.encode_caption("blue", normalize=False)
    query, _ = model.compose(image, text, torch.full((1, 1), text_weight))
    reader = EdgeBackend(shop.index).open(answer["generation"])
    expected = reader.search(query.numpy(), 3)[0]
    reader.close()
    assert_ranked(answer["hits"], [(hit.item.id, hit.score) for hit in expected])


def test_filters_limit_offset_and_reference(shop: Shop) -> None:
    everything = post(shop, {"reference": {"id": REFERENCE}, "limit": 40}).json()["hits"]
    assert len(everything) == 39
    assert REFERENCE not in {hit["id"] for hit in everything}
    second = post(shop, {"reference": {"id": REFERENCE}, "limit": 5, "offset": 5}).json()["hits"]
    assert second == everything[5:10]
    wanted = {"colour": ["red", "blue"], "price": {"gte": 3, "lt": 30}, "shape": {"not": "bar"}}
    filtered = post(shop, {"reference": {"id": REFERENCE}, "limit": 40, "filter": wanted}).json()["hits"]
    fits = [
        hit
        for hit in everything
        if hit["attributes"]["colour"] in ("red", "blue")
        and 3 <= hit["attributes"]["price"] < 30
        and hit["attributes"]["shape"] != "bar"
    ]
    assert filtered == fits


def test_timings_name_every_part(shop: Shop) -> None:
    timings = post(shop, {"reference": {"id": REFERENCE}, "text": "blue"}).json()["timings_ms"]
    parts = [timings[name] for name in ("read", "reference", "encode", "search")]
    assert all(part >= 0 for part in parts)
    assert timings["total"] == pytest.approx(sum(parts), abs=0.05)


def test_browsing_pages_through_everything_once(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> list[str]:
        seen, cursor = [], None
        while True:
            parameters = {"limit": "7", "filter": '{"large": true}', **({"cursor": cursor} if cursor else {})}
            page = (await client.get("/v1/items", params=parameters)).json()
            assert page["total"] == 20
            seen += [item["id"] for item in page["items"]]
            cursor = page["cursor"]
            if cursor is None:
                return seen

    assert sorted(ask(shop, conversation)) == sorted(name for name in shop.ids if name.startswith("large"))


def test_thumbnails_are_small_and_cached_by_content(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> None:
        first = await client.get(f"/v1/items/{REFERENCE}/image", params={"size": 96})
        image = Image.open(BytesIO(first.content))
        assert (image.format, image.size) == ("WEBP", (64, 64))
        again = await client.get(
            f"/v1/items/{REFERENCE}/image", params={"size": 96}, headers={"If-None-Match": first.headers["ETag"]}
        )
        assert (again.status_code, again.content) == (304, b"")

    ask(shop, conversation)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 422, "give a reference, a text, or both"),
        ({"reference": {"id": "nothing"}}, 404, "there is no item 'nothing'"),
        ({"reference": {"id": REFERENCE, "image": "aaaa"}}, 422, "either id or image"),
        ({"reference": {"image": "$$$"}}, 422, "not base64"),
        ({"reference": {"image": "aGFsbG8="}}, 422, "not a picture in a known format"),
        ({"text": "red", "weight": 0.5}, 422, "give both"),
        ({"refinements": ["red"], "reference": {"id": REFERENCE}}, 422, "refinements follow a text"),
        ({"text": "  "}, 422, "text"),
        ({"text": "red", "limit": 0}, 422, "limit"),
        ({"text": "red", "colour": "red"}, 422, "colour"),
        ({"text": "red", "filter": {"price": {"above": 3}}}, 422, "above"),
        ({"text": "red", "filter": {"color": "red"}}, 422, "there are: colour, large, price, shape"),
        ({"text": "red", "filter": {"colour": 3}}, 422, "the values are text, not 3"),
        ({"text": "red", "filter": {"price": {"not": [1, "a"]}}}, 422, "the values are a number, not 'a'"),
    ],
)
def test_wrong_searches_are_problems_that_say_why(shop: Shop, body: Any, status: int, said: str) -> None:
    answer = post(shop, body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert said in json.dumps(problem)


def test_other_wrong_requests(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> None:
        async def status(method: str, path: str, **options: Any) -> int:
            answer = await client.request(method, path, **options)
            assert answer.headers["content-type"] == "application/problem+json"
            return answer.status_code

        assert await status("POST", "/v1/search", content="{", headers={"content-type": "application/json"}) == 422
        assert await status("POST", "/v1/search", content="x", headers={"content-type": "text/plain"}) == 415
        assert await status("POST", "/v1/search", files={"image": b"", "other": (None, "x")}) == 422
        assert await status("GET", "/v1/items/nothing") == 404
        assert await status("GET", "/v1/items/nothing/image") == 404
        assert await status("GET", f"/v1/items/{REFERENCE}/image?size=9999") == 422
        assert await status("GET", "/v1/items?cursor=zzz") == 422
        assert await status("GET", "/v1/items?filter={") == 422
        assert await status("GET", "/assets/..%2Fapp.py") == 404
        assert await status("PATCH", "/v1/search") == 405
        assert await status("POST", "/v1/search", files={"image": (None, "text")}) == 422
        assert await status("POST", "/v1/search", files=[("text", (None, "a")), ("text", (None, "b"))]) == 422
        assert await status("POST", "/v1/search", files={"image": picture(shop), "id": (None, REFERENCE)}) == 422
        assert await status("POST", "/v1/search", files={"image": picture(shop), "weight": (None, "0.5")}) == 422
        assert await status("POST", "/v1/search", files={"text": (None, "a"), "filter": (None, "{")}) == 422
        assert await status("POST", "/v1/search", files={"text": ("a.txt", b"a")}) == 422
        no_file = (await client.post("/v1/search", files={"image": (None, "text")})).json()
        assert (no_file["errors"][0]["where"], no_file["detail"][:22]) == ("image", "image: must be a file:")
        odd = {"content-type": "multipart/form-data; boundary=x; charset=punycode"}
        assert await status("POST", "/v1/search", content=b"--x--", headers=odd) == 415

    ask(shop, conversation)


def test_a_body_beyond_the_limit_is_refused(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> None:
        large = await client.post("/v1/search", content=b"x" * 20_000, headers={"content-type": "application/json"})

        async def unannounced() -> Any:
            for _ in range(20):
                yield b"x" * 1000

        chunked = await client.post("/v1/search", content=unannounced(), headers={"content-type": "application/json"})
        assert (large.status_code, chunked.status_code) == (413, 413)
        assert "larger than" in large.json()["detail"]

    ask(shop, conversation, max_upload_mb=0.01)


def test_a_body_is_refused_before_it_is_read(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> None:
        json_type = {"content-type": "application/json"}
        assert (await client.put("/v1/items/x", content=b"{", headers=json_type)).status_code == 401

        async def endless() -> Any:
            for _ in range(20):
                yield b"x" * 1000

        headers = {**json_type, "X-API-Key": KEY}
        assert (await client.put("/v1/items/x", content=endless(), headers=headers)).status_code == 413

    ask(shop, conversation, memory_backend(shop), KEY, max_upload_mb=0.01)


def test_a_small_file_with_very_many_pixels_is_refused(shop: Shop) -> None:
    stream = BytesIO()
    Image.new("L", (4000, 4000)).save(stream, "PNG")

    async def conversation(client: httpx.AsyncClient, _: Service) -> httpx.Response:
        return await client.post("/v1/search", files={"image": stream.getvalue()})

    answer = ask(shop, conversation, max_megapixels=1.0)
    assert answer.status_code == 422
    assert "4,000 x 4,000 pixels, more than 1,000,000" in answer.json()["detail"]


def test_a_key_that_cannot_be_sent_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="printable ASCII"):
        Access("schlüssel")
    assert Access(" key\n").key_needed


def test_deployment_environments_that_differ_are_refused() -> None:
    expected = DeploymentEnvironment("http://qdrant:6333, collection cirray", True)
    with pytest.raises(ConfigError, match="set QDRANT_URL to the same value on all nodes"):
        expected.check(DeploymentEnvironment("/root/.cache/cirray/index", True))
    with pytest.raises(ConfigError, match="set on some nodes only"):
        expected.check(DeploymentEnvironment(expected.index, False))
    expected.check(expected)


def test_a_model_of_another_image_tower_is_never_searched_with(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, service: Service) -> None:
        with service.catalog.reader() as reader:
            reader.generation = reader.generation.model_copy(update={"image_fingerprint": "another"})
        answer = await client.post("/v1/search", json={"text": "red"})
        assert answer.status_code == 503
        assert "does not fit the index" in answer.json()["detail"]
        assert answer.headers["Retry-After"]

    ask(shop, conversation)


def test_writes_go_to_the_generation_that_is_searched(shop: Shop) -> None:
    backend = memory_backend(shop)
    photo = base64.b64encode(picture(shop)).decode()

    async def conversation(client: httpx.AsyncClient, service: Service) -> None:
        client.headers["X-API-Key"] = KEY
        with service.catalog.reader() as reader:
            plan = reader.generation.model_copy(update={"name": "zz-next"})
        writer = backend.create(plan)
        backend.publish(writer.finish({}).name)
        writer.close()
        put = await client.put("/v1/items/new", json={"image": photo})
        assert put.status_code == 503
        assert backend.open("zz-next").count() == 0

    ask(shop, conversation, backend, KEY, poll_s=60.0)


def test_errors_tell_visitors_nothing_of_this_machine(shop: Shop, tmp_path: Path) -> None:
    gone = write_shop(tmp_path)
    for path in (gone.catalog.parent / "images").iterdir():
        path.unlink()
    gone = replace(gone, handle=shop.handle)
    answer = send(gone, "GET", f"/v1/items/{REFERENCE}/image")
    assert answer.status_code == 404
    assert str(tmp_path) not in answer.text
    assert str(tmp_path) not in send(shop, "GET", "/readyz", backend=EdgeBackend(tmp_path / "empty")).text


def test_a_request_that_takes_too_long_is_given_up(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, service: Service) -> None:
        answer = await client.post("/v1/search", json={"text": "red"})
        assert answer.status_code == 504
        assert "was cancelled" in answer.json()["detail"]

    ask(shop, conversation, timeout_s=0.001)


def test_the_key_guards_reading_when_it_is_set(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> None:
        async def status(**options: Any) -> int:
            return (await client.get("/v1/model", **options)).status_code

        assert await status() == 401
        assert await status(headers={"X-API-Key": "wrong"}) == 401
        assert await status(headers={"X-API-Key": KEY}) == 200
        assert await status(headers={"Authorization": f"Bearer {KEY}"}) == 200
        assert await status(headers={"Cookie": f"cirray_key={KEY}"}) == 200
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/")).status_code == 200

    ask(shop, conversation, key=KEY)


def test_writing_needs_a_key_always(shop: Shop) -> None:
    body = {"image": base64.b64encode(picture(shop)).decode()}
    backend = memory_backend(shop)
    assert send(shop, "PUT", "/v1/items/new", json=body, backend=backend).status_code == 403
    assert send(shop, "PUT", "/v1/items/new", json=body, backend=backend, key=KEY).status_code == 401
    cookie = {"Cookie": f"cirray_key={KEY}"}
    assert send(shop, "DELETE", f"/v1/items/{REFERENCE}", backend=backend, key=KEY, headers=cookie).status_code == 401


def test_the_embedded_index_says_why_it_cannot_be_written(shop: Shop) -> None:
    body = {"image": base64.b64encode(picture(shop)).decode()}
    answer = send(shop, "PUT", "/v1/items/new", json=body, key=KEY, headers={"X-API-Key": KEY})
    assert answer.status_code == 409
    assert "jobs/index.py" in answer.json()["detail"]


def test_items_of_a_server_are_put_replaced_and_deleted(shop: Shop) -> None:
    backend = memory_backend(shop)
    photo = base64.b64encode(picture(shop, "large-blue-circle")).decode()

    async def conversation(client: httpx.AsyncClient, _: Service) -> None:
        client.headers["X-API-Key"] = KEY
        path = "/v1/items/new%2Fone"
        put = await client.put(path, json={"image": photo, "title": "a new one", "attributes": {"colour": "blue"}})
        assert put.json() == {"put": 1, "deleted": 0}
        item = (await client.get(path)).json()
        assert (item["id"], item["title"], item["attributes"]) == ("new/one", "a new one", {"colour": "blue"})
        assert (await client.get(item["image"])).headers["content-type"] == "image/webp"
        found = await client.post("/v1/search", json={"reference": {"id": "large-blue-circle"}, "limit": 1})
        assert found.json()["hits"][0]["id"] == "new/one"
        wrong = await client.put(path, json={"image": photo, "attributes": {"price": "cheap"}})
        assert wrong.status_code == 422
        assert "must be a number" in wrong.json()["detail"]
        changes = {"put": [{"id": "new/two", "image": photo}], "delete": ["new/one", "never"]}
        assert (await client.post("/v1/items/batch", json=changes)).json() == {"put": 1, "deleted": 1}
        assert (await client.get(path)).status_code == 404
        assert (await client.delete(path)).status_code == 404
        assert (await client.delete("/v1/items/new%2Ftwo")).json() == {"put": 0, "deleted": 1}
        half = {"put": [{"id": "good", "image": photo}, {"id": "bad", "image": "aGFsbG8="}]}
        assert (await client.post("/v1/items/batch", json=half)).status_code == 422
        assert (await client.get("/v1/items/good")).status_code == 404

    ask(shop, conversation, backend, KEY)


def test_an_id_may_end_like_the_path_of_a_picture(shop: Shop) -> None:
    backend = memory_backend(shop)
    photo = base64.b64encode(picture(shop)).decode()

    async def conversation(client: httpx.AsyncClient, _: Service) -> None:
        client.headers["X-API-Key"] = KEY
        await client.put("/v1/items/folder%2Fimage", json={"image": photo, "title": "tricky"})
        assert (await client.get("/v1/items/folder%2Fimage")).json()["title"] == "tricky"
        thumbnail = await client.get("/v1/items/folder%2Fimage/image")
        assert thumbnail.headers["content-type"] == "image/webp"

    ask(shop, conversation, backend, KEY)


def test_feedback_is_on_disk_when_it_is_acknowledged(shop: Shop) -> None:
    chosen = {"reference": REFERENCE, "texts": ["make it blue"], "chosen": "small-blue-bar"}
    answer = send(shop, "POST", "/v1/feedback", json=chosen)
    assert answer.status_code == 201
    lines = [
        json.loads(line)
        for path in (shop.index.parent / "feedback").glob("*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    (kept,) = [line for line in lines if line["id"] == answer.json()["id"]]
    assert {name: kept[name] for name in chosen} == chosen
    assert send(shop, "POST", "/v1/feedback", json={**chosen, "chosen": "nothing"}).status_code == 404


def test_feedback_is_bounded(shop: Shop, tmp_path: Path) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> list[int]:
        body = {"reference": REFERENCE, "texts": ["x" * 300], "chosen": REFERENCE}
        return [(await client.post("/v1/feedback", json=body)).status_code for _ in range(4)]

    statuses = ask(shop, conversation, feedback_max_mb=0.0005, feedback=str(tmp_path))
    assert statuses == [201, 507, 507, 507]


def test_the_model_says_what_can_be_filtered_by(shop: Shop) -> None:
    model = send(shop, "GET", "/v1/model").json()
    kinds = {attribute["name"]: attribute["kind"] for attribute in model["attributes"]}
    assert kinds == {"colour": "keyword", "shape": "keyword", "price": "number", "large": "bool"}
    assert (model["items"], model["combining"], model["writable"]) == (40, "combiner", False)


def test_nothing_published_is_unready_not_broken(shop: Shop, tmp_path: Path) -> None:
    backend = EdgeBackend(tmp_path / "empty")

    async def conversation(client: httpx.AsyncClient, _: Service) -> None:
        for path in ("/readyz", "/v1/items", "/v1/model"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert "jobs/index.py" in answer.json()["detail"]
            assert answer.headers["Retry-After"]
        assert (await client.get("/healthz")).status_code == 200

    ask(shop, conversation, backend)


def test_pages_load_nothing_from_elsewhere(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> None:
        page = await client.get("/")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        for path in (Path(__file__).parents[1] / "serve" / "page").iterdir():
            if path.suffix in (".js", ".css", ".svg"):
                assert (await client.get(f"/assets/{path.name}")).status_code == 200
            if path.suffix != ".svg":
                assert "//cdn" not in path.read_text(encoding="utf-8")

    ask(shop, conversation)


def test_scores_are_cosines(shop: Shop) -> None:
    hits = post(shop, {"reference": {"id": REFERENCE}, "limit": 1, "include_reference": True}).json()["hits"]
    assert hits[0]["score"] == pytest.approx(1.0, abs=1e-5)
    assert np.isfinite(hits[0]["score"])
