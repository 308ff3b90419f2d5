"""Searches with several references and with what is not wanted, over a real index and a real encoder replica."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import torch

import cirray
from cirray.data.captions import query_caption
from cirray.models.composition import compose_references
from serve.service import Service
from tests.support.service_fixtures import Shop, ask
from tests.test_service import assert_ranked, counts, picture, post, send

Conversation = Callable[[httpx.AsyncClient, Service], Awaitable[Any]]
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]
FIRST, SECOND, THIRD = "small-red-bar", "large-blue-circle", "small-green-square"
BOTH = [{"id": FIRST, "text": "everything but the color"}, {"id": SECOND, "text": "the color of this"}]


def by_hand(
    shop: Shop,
    references: list[tuple[str | None, tuple[str, ...]]],
    weights: list[float] | None = None,
    away: tuple[str, ...] = (),
    away_texts: tuple[str, ...] = (),
) -> list[tuple[str, float]]:
    """Ranks the catalog with the bundle alone, by the rule of `compose_references`: no index, no service."""
    model = cirray.load(shop.bundle)
    files = {name: shop.catalog.parent / "images" / f"{name}.png" for name in shop.ids}
    gallery = model.encode_image(list(files.values()))
    row = {name: number for number, name in enumerate(files)}
    queries = []
    for name, texts in references:
        if name is None:
            queries.append(model.encode_text(query_caption(texts))[0])
        elif texts:
            queries.append(model.encode_query(files[name], query_caption(texts))[0])
        else:
            queries.append(gallery[row[name]])
    unwanted = [gallery[row[name]] for name in away] + [model.encode_unwanted(text)[0] for text in away_texts]
    query = compose_references(
        torch.stack(queries),
        None if weights is None else torch.tensor(weights),
        torch.stack(unwanted) if unwanted else None,
    )
    return sorted(zip(files, (gallery @ query).tolist(), strict=True), key=lambda pair: -pair[1])


def search(shop: Shop, **body: Any) -> dict[str, Any]:
    answer = post(shop, {"limit": 40, "include_reference": True, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def without(ranked: list[tuple[str, float]], *names: str) -> list[tuple[str, float]]:
    return [pair for pair in ranked if pair[0] not in names]


def test_several_references_are_those_of_the_bundle_alone(shop: Shop) -> None:
    weighted = [{**BOTH[0], "weight": 2}, BOTH[1], {"id": THIRD, "weight": 0.5}]
    answer = search(shop, references=weighted)
    assert (answer["kind"], answer["text_weight"]) == ("composed", None)
    parts = [(FIRST, (BOTH[0]["text"],)), (SECOND, (BOTH[1]["text"],)), (THIRD, ())]
    assert_ranked(answer["hits"], by_hand(shop, parts, [2, 1, 0.5]))
    assert len(answer["hits"]) == 40
    equal = search(shop, references=[{**each, "weight": 3} for each in BOTH])["hits"]
    assert_ranked(equal, by_hand(shop, parts[:2]))
    assert [hit["id"] for hit in equal[:10]] != [hit["id"] for hit in answer["hits"][:10]]


def test_shared_texts_follow_the_text_of_each_reference(shop: Shop) -> None:
    answer = search(shop, references=[BOTH[0], {"id": SECOND}], text="large", refinements=["with a border"])
    shared = ("large", "with a border")
    assert_ranked(answer["hits"], by_hand(shop, [(FIRST, (BOTH[0]["text"], *shared)), (SECOND, shared)]))


def test_references_without_texts_are_similar_to_all_of_them(shop: Shop) -> None:
    answer = search(shop, references=[{"id": FIRST}, {"id": SECOND}])
    assert answer["kind"] == "similar"
    assert_ranked(answer["hits"], by_hand(shop, [(FIRST, ()), (SECOND, ())]))


@pytest.mark.parametrize("texts", [{"text": "make it blue"}, {}])
def test_one_of_several_references_is_the_single_one_bit_for_bit(shop: Shop, texts: dict[str, str]) -> None:
    alone = search(shop, reference={"id": FIRST}, **texts)
    answer = search(shop, references=[{"id": FIRST}], **texts)
    assert answer["hits"] == alone["hits"]
    assert (answer["kind"], answer["text_weight"]) == (alone["kind"], alone["text_weight"])
    own = search(shop, references=[{"id": FIRST, **texts, "weight": 7}])
    assert own["hits"] == alone["hits"]


@pytest.mark.parametrize("start", [{"reference": {"id": FIRST}}, {}, {"references": [{"id": FIRST}, {"id": SECOND}]}])
def test_a_search_moves_away_from_what_is_not_wanted(shop: Shop, start: dict[str, Any]) -> None:
    ids = [entry["id"] for entry in start.get("references") or ([start["reference"]] if start else [])]
    parts = [(name, ("in blue",)) for name in ids or [None]]
    answer = search(shop, **start, text="in blue", **{"not": [{"id": THIRD}, {"text": "a circle"}]})
    assert answer["kind"] == ("composed" if start else "text")
    assert (answer["text_weight"] is not None) == ("reference" in start)
    assert_ranked(answer["hits"], without(by_hand(shop, parts, None, (THIRD,), ("a circle",)), THIRD))
    plain = search(shop, **start, text="in blue")["hits"]
    assert plain != answer["hits"]


def test_similar_items_that_are_not_like_another(shop: Shop) -> None:
    answer = search(shop, reference={"id": FIRST}, **{"not": [{"id": SECOND}]})
    assert_ranked(answer["hits"], without(by_hand(shop, [(FIRST, ())], None, (SECOND,)), SECOND))


def test_references_and_unwanted_items_are_left_out(shop: Shop) -> None:
    body = {"references": BOTH, "not": [{"id": THIRD}], "limit": 40}
    hits = {hit["id"] for hit in post(shop, body).json()["hits"]}
    assert hits == set(shop.ids) - {FIRST, SECOND, THIRD}
    hits = {hit["id"] for hit in post(shop, {**body, "include_reference": True}).json()["hits"]}
    assert hits == set(shop.ids) - {THIRD}


def test_pictures_find_what_their_items_find_in_json_and_in_a_form(shop: Shop) -> None:
    by_id = search(shop, references=[*BOTH, {"id": THIRD}])["hits"]
    encoded = [base64.b64encode(picture(shop, name)).decode() for name in (FIRST, THIRD)]
    first, third = ({"text": BOTH[0]["text"]}, {})
    in_json = search(shop, references=[{**first, "image": encoded[0]}, BOTH[1], {"image": encoded[1]}])["hits"]
    form = {"references": json.dumps([first, BOTH[1], third]), "limit": "40", "include_reference": "true"}
    files = {"references[0].image": picture(shop, FIRST), "references[2].image": picture(shop, THIRD)}
    in_form = send(shop, "POST", "/v1/search", data=form, files=files)
    assert in_form.status_code == 200, in_form.text
    for hits in (in_json, in_form.json()["hits"]):
        assert_ranked(hits, [(hit["id"], hit["score"]) for hit in by_id])


def test_a_form_takes_what_is_not_wanted(shop: Shop) -> None:
    unwanted = [{"text": "a circle"}, {"id": SECOND, "image_number": 0}]
    form = {"text": "in blue", "not": json.dumps(unwanted)}
    answer = send(shop, "POST", "/v1/search", files={name: (None, value) for name, value in form.items()})
    assert answer.json()["hits"] == post(shop, {"text": "in blue", "not": unwanted}).json()["hits"]


def test_all_pictures_of_a_request_share_a_batch_and_so_do_its_texts(shop: Shop) -> None:
    encoded = [base64.b64encode(picture(shop, name)).decode() for name in (FIRST, THIRD)]
    references = [{"image": image, "text": f"text {number}"} for number, image in enumerate(encoded)]
    before = counts(shop)
    search(shop, references=[*references, BOTH[1]], **{"not": [{"text": "a circle"}, {"text": "red"}]})
    after = counts(shop)
    assert (after.images - before.images, after.image_batches - before.image_batches) == (2, 1)
    # Three captions in one pass of their text tower; two unwanted texts and the neutral one in a pass of the other.
    assert (after.texts - before.texts, after.text_batches - before.text_batches) == (6, 2)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"reference": {"id": FIRST}, "references": BOTH}, 422, "give either reference or references, not both"),
        ({"references": [BOTH[0]] * 5}, 422, "references: List should have at most 4 items"),
        ({"references": []}, 422, "give a reference, a text, or both"),
        ({"not": [{"text": "red"}]}, 422, "give a reference, a text, or both"),
        ({"references": [BOTH[0], {}]}, 422, "references[1]: give either id or image"),
        ({"references": [BOTH[0], {"id": ""}]}, 422, "references[1].id: "),
        ({"references": [BOTH[0], {"id": "nothing"}]}, 404, "references[1].id: there is no item 'nothing'"),
        ({"references": [{"image": "aGFsbG8="}]}, 422, "references[0].image: is not a picture"),
        ({"references": [{"id": FIRST, "weight": 0}]}, 422, "references[0].weight: "),
        ({"references": [{"id": FIRST, "weight": -1}]}, 422, "references[0].weight: "),
        ({"references": [{"id": FIRST}], "text_weight": 0.5}, 422, "text_weight balances a reference and a text"),
        ({"text": "x", "not": [{"text": "a"}] * 5}, 422, "not: List should have at most 4 items"),
        ({"text": "x", "not": [{"text": "a"}, {}]}, 422, "not[1]: give either id or text"),
        ({"text": "x", "not": [{"text": "a", "id": FIRST}]}, 422, "not[0]: give either id or text"),
        ({"text": "x", "not": [{"text": "a", "image_number": 1}]}, 422, "not[0]: image_number belongs to an id"),
        ({"text": "x", "not": [{"id": "nothing"}]}, 404, "not[0].id: there is no item 'nothing'"),
        ({"text": "x", "unwanted": [{"text": "a"}]}, 422, "unwanted: Extra inputs are not permitted"),
    ],
)
def test_errors_name_the_field(shop: Shop, body: Any, status: int, said: str) -> None:
    answer = post(shop, body)
    assert answer.status_code == status
    problem = answer.json()
    assert said in problem["detail"]
    assert all(said.startswith(error["where"]) for error in problem.get("errors", []))


@pytest.mark.parametrize(
    ("form", "files", "said"),
    [
        ({"references": "[{}]"}, ["references[1].image"], "references[1].image: references has no entry for this file"),
        ({"text": "x"}, ["references[0].image"], "references[0].image: references has no entry for this file"),
        (
            {"references": '[{"image": "YQ=="}]'},
            ["references[0].image"],
            "references[0].image: references has no entry",
        ),
        ({"references": f'[{{"id": "{FIRST}"}}]'}, ["references[0].image"], "references[0]: give either id or image"),
        ({"references": f'[{{"id": "{FIRST}"}}]'}, ["image"], "give either reference or references"),
        ({"references": "[{}]", "references[0].image": "a"}, [], "references[0].image: must be a file"),
        ({"references": '["a"]'}, [], "references[0]: "),
        ({"references": "{"}, [], "references: Invalid JSON"),
        ({"text": "x", "not": "[{}]"}, [], "not[0]: give either id or text"),
    ],
)
def test_wrong_forms_name_the_field(shop: Shop, form: dict[str, str], files: list[str], said: str) -> None:
    fields: dict[str, Any] = {name: (None, value) for name, value in form.items()}
    answer = send(shop, "POST", "/v1/search", files=fields | {name: picture(shop) for name in files})
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_several_references_may_have_a_text_weight_of_their_own(shop: Shop) -> None:
    heavy = search(shop, references=BOTH, text_weight=1.0)
    light = search(shop, references=BOTH, text_weight=0.0)
    assert heavy["hits"] != light["hits"]
    assert heavy["text_weight"] is None


def test_the_description_has_both_bodies(shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> Any:
        return (await client.get("/openapi.json")).json()["components"]["schemas"]

    described = ask(shop, conversation)
    assert {"references", "not"} <= described["SearchRequest"]["properties"].keys()
    assert {"references", "not", "references[3].image"} <= described["SearchForm"]["properties"].keys()
    assert {"id", "image", "image_number", "text", "weight"} == described["WeightedReference"]["properties"].keys()
