"""Products of several pictures and items over HTTP, indexed by the job."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from PIL import Image
from ray import serve

import cirray
from serve.service import Service
from tests.support.bundles import fine_tuned, write_bundle
from tests.support.encoder_fixtures import tiny_encoder
from tests.support.service_fixtures import Shop, ask, deploy, write_shop

Conversation = Callable[[httpx.AsyncClient, Service], Awaitable[Any]]
REFERENCE, OTHER = "small-red-bar", "large-red-bar"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Iterator[Shop]:
    """Items of one color and shape are variants of a product; each item has a second picture, its variant's."""
    shop = write_shop(tmp_path_factory.mktemp("products"))
    write_bundle(shop.bundle, encoder=fine_tuned(tiny_encoder()), pretrained=tiny_encoder(), reranker="attention")
    shop = _with_rows(shop, lambda row: {"image": [row["image"], _variant(row["image"])], "group": row["id"][6:]})
    shop.rebuild()
    yield deploy(shop, "products")
    serve.delete("products")


def _with_rows(shop: Shop, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Shop:
    """Returns a shop whose catalog has changed rows; it is not indexed yet."""
    rows = [json.loads(line) for line in shop.catalog.read_text(encoding="utf-8").splitlines()]
    catalog = shop.catalog.with_name("products.jsonl")
    catalog.write_text("".join(json.dumps(row | change(row)) + "\n" for row in rows), encoding="utf-8")
    return replace(shop, catalog=catalog)


def _variant(image: str) -> str:
    folder, _, name = image.rpartition("/")
    size, rest = name.split("-", 1)
    return f"{folder}/{'large' if size == 'small' else 'small'}-{rest}".removeprefix("/")


def test_each_product_is_one_hit_with_its_best_picture(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> list[Any]:
        bodies = [{"reference": {"id": REFERENCE, "image_number": number}} for number in (0, 1)]
        more = {"limit": 50, "include_reference": True}
        return [(await client.post("/v1/search", json={**body, **more})).json()["hits"] for body in bodies]

    first, second = ask(shop, conversation)
    products = [hit["group"] for hit in first]
    assert len(products) == len(set(products)) == len(shop.ids) // 2
    assert first[0]["group"] == second[0]["group"] == "red-bar"
    # The picture of the reference is the main one of one variant, and the second one of the other.
    assert {(hit["id"], hit["image_number"]) for hit in (first[0], second[0])} <= {
        (REFERENCE, 0),
        (REFERENCE, 1),
        (OTHER, 0),
        (OTHER, 1),
    }
    assert [hit["score"] for hit in (first[0], second[0])] == pytest.approx([1, 1], abs=1e-4)
    assert [hit["score"] for hit in first] != [hit["score"] for hit in second]
    for hit in (*first, *second):
        assert hit["images"] == [f"/v1/items/{hit['id']}/image", f"/v1/items/{hit['id']}/image?number=1"]
        assert hit["image"] == hit["images"][hit["image_number"]]


def test_products_are_reranked_by_the_picture_that_matches_best(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> list[Any]:
        query = {"reference": {"id": REFERENCE}, "text": "make it blue", "limit": 50}
        bodies = [query, {**query, "rerank": {"top": 50}}]
        return [(await client.post("/v1/search", json=body)).json()["hits"] for body in bodies]

    plain, reranked = ask(shop, conversation)
    found = {(hit["id"], hit["image_number"]): hit["rerank_score"] for hit in reranked}
    assert found.keys() == {(hit["id"], hit["image_number"]) for hit in plain}
    assert {number for _, number in found} == {0, 1}
    model = cirray.load(shop.bundle)
    assert model.reranker is not None
    pictures = [_picture(shop, *each) for each in found]
    with torch.inference_mode():
        scores = model.reranker.score(
            model.encode_image(_picture(shop, REFERENCE, 0), normalize=False),
            model.encode_caption("make it blue", normalize=False),
            model.encode_query(_picture(shop, REFERENCE, 0), "make it blue"),
            model.encode_image(pictures, normalize=False).unsqueeze(0),
        )[0]
    assert list(found.values()) == pytest.approx(scores.tolist(), abs=1e-3)


def _picture(shop: Shop, identifier: str, number: int) -> Path:
    """Returns the picture file of an item; the second one is that of its variant."""
    image = f"{identifier}.png"
    return shop.catalog.parent / "images" / (_variant(image) if number else image)


def test_the_whole_product_of_the_reference_is_left_out(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> Any:
        return (await client.post("/v1/search", json={"reference": {"id": REFERENCE}, "limit": 50})).json()["hits"]

    hits = ask(shop, conversation)
    assert len(hits) == len(shop.ids) // 2 - 1
    assert "red-bar" not in {hit["group"] for hit in hits}


def test_browsing_and_counting_are_of_items(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> Any:
        model = (await client.get("/v1/model")).json()
        return model["items"], (await client.get("/v1/items?limit=100")).json()

    count, page = ask(shop, conversation)
    assert count == page["total"] == len(page["items"]) == len(shop.ids)
    assert sorted(item["id"] for item in page["items"]) == sorted(shop.ids)
    assert {len(item["images"]) for item in page["items"]} == {2}


def test_each_picture_has_a_thumbnail(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> list[httpx.Response]:
        item = (await client.get(f"/v1/items/{REFERENCE}")).json()
        other = (await client.get(f"/v1/items/{OTHER}")).json()
        paths = [*item["images"], other["image"], f"{item['image']}?number=2"]
        return [await client.get(path) for path in paths]

    main, second, same, missing = ask(shop, conversation)
    assert Image.open(BytesIO(main.content)).format == "WEBP"
    assert main.content != second.content == same.content
    assert main.headers["ETag"] != second.headers["ETag"]
    assert (missing.status_code, missing.json()["detail"]) == (
        404,
        f"item '{REFERENCE}' has 2 pictures: numbers count from 0",
    )


@pytest.mark.parametrize(
    ("reference", "status", "message"),
    [
        ({"id": REFERENCE, "image_number": 2}, 404, "there is no item 'small-red-bar' with a picture number 2"),
        ({"id": REFERENCE, "image_number": -1}, 422, "greater than or equal to 0"),
        ({"image": "aGFsbG8=", "image_number": 1}, 422, "image_number belongs to an id"),
    ],
)
def test_wrong_picture_numbers_are_refused(reference: dict[str, Any], status: int, message: str, shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> httpx.Response:
        return await client.post("/v1/search", json={"reference": reference})

    answer = ask(shop, conversation)
    assert answer.status_code == status
    assert message in answer.text


def test_a_form_chooses_a_picture_too(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> list[Any]:
        form = {"id": (None, REFERENCE), "image_number": (None, "1")}
        body = {"reference": {"id": REFERENCE, "image_number": 1}}
        answers = [await client.post("/v1/search", files=form), await client.post("/v1/search", json=body)]
        return [answer.json()["hits"] for answer in answers]

    in_form, in_json = ask(shop, conversation)
    assert in_form == in_json


def test_a_broken_further_picture_costs_the_item_nothing_else(shop: Shop) -> None:
    (shop.catalog.parent / "broken.png").write_bytes(b"no picture")
    one = replace(shop, catalog=shop.catalog.with_name("catalog.jsonl"), index=shop.index.with_name("other"))
    broken = _with_rows(one, lambda row: {"image": ["broken.png", row["image"]]} if "red" in row["id"] else {})
    report = broken.rebuild()
    assert report["items"] == len(shop.ids)
    assert len(report["bad"]) == sum("red" in name for name in shop.ids)
