"""Searches whose first hits are reranked, over a real index and a real encoder replica."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
import torch
from ray import serve

import cirray
from cirray.storage.location import Location
from serve.batches import QueryJob, encode_queries
from serve.candidate_scores import score_candidates
from serve.encoder_types import EncodedQuery, QueryEncoder, RerankInput, RerankScores
from serve.errors import ModelChangedError
from serve.loaded_bundle import Loaded
from serve.model import ServedModel
from serve.service import Service
from serve.uploads import Uploads
from tests.support.bundles import fine_tuned, write_bundle
from tests.support.encoder_fixtures import tiny_encoder
from tests.support.service_fixtures import Shop, ask, deploy, write_shop

REFERENCE, TEXT = "small-red-bar", "make it blue"
QUERY: dict[str, Any] = {"reference": {"id": REFERENCE}, "text": TEXT}
TOP = 12


@pytest.fixture(scope="module")
def reranking(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Iterator[Shop]:
    """A shop whose bundle has a reranker."""
    shop = write_shop(tmp_path_factory.mktemp("reranking"))
    write_bundle(shop.bundle, encoder=fine_tuned(tiny_encoder()), pretrained=tiny_encoder(), reranker="attention")
    yield deploy(shop, "reranking")
    serve.delete("reranking")


def post(shop: Shop, *bodies: dict[str, Any], **options: Any) -> list[Any]:
    """Returns the answers to searches."""

    async def conversation(client: httpx.AsyncClient, _: Service) -> list[Any]:
        return [(await client.post("/v1/search", json=body, **options)).json() for body in bodies]

    return ask(shop, conversation)


def ids(answer: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in answer["hits"]]


def test_the_first_hits_are_in_the_order_of_the_bundles_reranker(reranking: Shop) -> None:
    plain, found = post(reranking, {**QUERY, "limit": 40}, {**QUERY, "limit": 40, "rerank": {"top": TOP}})
    model = cirray.load(reranking.bundle)
    assert model.reranker is not None
    pictures = {name: reranking.catalog.parent / "images" / f"{name}.png" for name in reranking.ids}
    first = ids(plain)[:TOP]
    with torch.inference_mode():
        scores = model.reranker.score(
            model.encode_image(pictures[REFERENCE], normalize=False),
            model.encode_caption(TEXT, normalize=False),
            model.encode_query(pictures[REFERENCE], TEXT),
            model.encode_image([pictures[name] for name in first], normalize=False).unsqueeze(0),
        )[0]
    expected = dict(zip(first, scores.tolist(), strict=True))
    assert {hit["id"]: hit["rerank_score"] for hit in found["hits"][:TOP]} == pytest.approx(expected, abs=1e-3)
    shown = [hit["rerank_score"] for hit in found["hits"][:TOP]]
    assert shown == sorted(shown, reverse=True)
    assert ids(found)[:TOP] != first
    assert found["hits"][TOP:] == plain["hits"][TOP:]  # the others stay, without a score of the reranker
    assert {hit["rerank_score"] for hit in (*plain["hits"], *found["hits"][TOP:])} == {None}
    cosines = {hit["id"]: hit["score"] for hit in plain["hits"]}
    assert {hit["id"]: hit["score"] for hit in found["hits"]} == pytest.approx(cosines)


@pytest.mark.parametrize("limit", [1, 5, 7, 12, 20])
def test_pages_are_cut_from_one_list(limit: int, reranking: Shop) -> None:
    """Pages before, across and after the end of the reranked hits."""
    bodies = [{**QUERY, "limit": limit, "offset": offset, "rerank": {"top": TOP}} for offset in range(0, 40, limit)]
    whole, *pages = post(reranking, {**QUERY, "limit": 40, "rerank": {"top": TOP}}, *bodies)
    assert [hit for page in pages for hit in page["hits"]] == whole["hits"]


def test_fewer_hits_than_asked_for_are_all_reranked(reranking: Shop) -> None:
    filtered = {**QUERY, "filter": {"colour": "blue"}, "limit": 100}
    plain, found = post(reranking, filtered, {**filtered, "rerank": {"top": 200}})
    assert 0 < len(found["hits"]) < TOP
    assert sorted(ids(found)) == sorted(ids(plain))
    assert all(hit["rerank_score"] is not None for hit in found["hits"])
    nothing = {**QUERY, "filter": {"price": {"lt": 0}}, "rerank": {"top": 5}}
    (empty,) = post(reranking, nothing)
    assert empty["hits"] == []


def test_an_uploaded_picture_is_reranked_like_its_item(reranking: Shop) -> None:
    picture = (reranking.catalog.parent / "images" / f"{REFERENCE}.png").read_bytes()
    (by_id,) = post(reranking, {**QUERY, "rerank": {"top": TOP}, "include_reference": True})

    async def conversation(client: httpx.AsyncClient, _: Service) -> Any:
        form = {"text": TEXT, "rerank": f'{{"top": {TOP}}}', "include_reference": "true"}
        return (await client.post("/v1/search", data=form, files={"image": picture})).json()

    in_form = ask(reranking, conversation)
    scores = [{hit["id"]: hit["rerank_score"] for hit in answer["hits"][:TOP]} for answer in (in_form, by_id)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_the_text_weight_and_refinements_are_those_of_the_query(reranking: Shop) -> None:
    body = {**QUERY, "rerank": {"top": TOP}, "limit": TOP}
    answers = post(reranking, body, {**body, "text_weight": 0.9}, {**body, "refinements": ["larger"]})
    found = [{hit["id"]: hit["rerank_score"] for hit in answer["hits"]} for answer in answers]
    for one, other in pairwise(found):
        shared = one.keys() & other.keys()
        assert shared and all(abs(one[name] - other[name]) > 1e-4 for name in shared)


def test_reranking_has_a_timing_of_its_own(reranking: Shop) -> None:
    body = {**QUERY, "rerank": {"top": TOP}, "limit": 5}
    plain, reranked, after = post(reranking, QUERY, body, {**body, "offset": TOP})
    assert (plain["timings_ms"]["rerank"], after["timings_ms"]["rerank"]) == (0, 0)
    timings = reranked["timings_ms"]
    assert timings["rerank"] > 0
    assert sum(value for name, value in timings.items() if name != "total") == pytest.approx(timings["total"], abs=0.1)


def test_the_model_says_whether_it_can_rerank(reranking: Shop, shop: Shop) -> None:
    async def conversation(client: httpx.AsyncClient, _: Service) -> Any:
        return (await client.get("/v1/model")).json()["has_reranker"]

    assert (ask(reranking, conversation), ask(shop, conversation)) == (True, False)


def test_a_bundle_without_reranker_says_so(shop: Shop) -> None:
    (answer,) = post(shop, {**QUERY, "rerank": {"top": TOP}})
    assert answer["status"] == 422
    assert answer["detail"].startswith("rerank cannot be used: the served bundle has no reranker; leave it out")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"text": TEXT, "rerank": {"top": 5}}, "rerank needs a reference and a text"),
        ({"reference": {"id": REFERENCE}, "rerank": {"top": 5}}, "rerank needs a reference and a text"),
        ({**QUERY, "rerank": {"top": 201}}, "rerank.top: Input should be less than or equal to 200"),
        ({**QUERY, "rerank": {"top": 0}}, "rerank.top: Input should be greater than or equal to 1"),
        ({**QUERY, "rerank": {"tpo": 5}}, "rerank.tpo: Extra inputs are not permitted"),
    ],
)
def test_wrong_requests(body: dict[str, Any], said: str, reranking: Shop) -> None:
    (answer,) = post(reranking, body)
    assert answer["status"] == 422
    assert said in answer["detail"]


# ---------------------------------------------------------------------------------------------------------------------
# the encoder


class Replica:
    """The reranking of an encoder replica with one bundle."""

    def __init__(self, bundle: Loaded) -> None:
        self.bundle = bundle

    async def rerank(self, candidates: RerankInput) -> RerankScores:
        return score_candidates(self.bundle, candidates)


def loaded(folder: Path, **options: Any) -> Loaded:
    return Loaded(Location.parse(write_bundle(folder, **options)), "cpu")


def rerank(bundle: Loaded, query: EncodedQuery, candidates: np.ndarray) -> np.ndarray:
    model = ServedModel(cast(QueryEncoder, Replica(bundle)), cast(Uploads, None), bundle.info)
    return asyncio.run(model.rerank(query, candidates))


def test_scores_are_of_the_bundle_that_encoded_the_query(tmp_path: Path) -> None:
    """Another bundle may take over between the two calls; then the search fails, and may be sent again."""
    old, new = (loaded(tmp_path / name, reranker=name) for name in ("artemis", "attention"))
    features = np.random.default_rng(0).normal(size=(5, old.info.dim)).astype(np.float32)
    (query,) = encode_queries(old, [QueryJob(old, features[0], TEXT, None)])
    found = rerank(old, query, features)
    assert query.image is not None and query.text is not None and old.model.reranker is not None
    parts = (torch.from_numpy(part)[None] for part in (query.image, query.text, query.feature, features))
    assert found == pytest.approx(old.model.reranker.score(*parts)[0].detach().numpy(), abs=1e-4)
    for other in (new, loaded(tmp_path / "none")):
        with pytest.raises(ModelChangedError, match="the model was replaced during this search: try again"):
            rerank(other, query, features)


def test_only_composed_queries_carry_what_they_are_made_of(tmp_path: Path) -> None:
    bundle = loaded(tmp_path / "bundle")
    image = np.random.default_rng(0).normal(size=bundle.info.dim).astype(np.float32)
    jobs = [
        QueryJob(bundle, image, TEXT, None),
        QueryJob(bundle, image, None, None),
        QueryJob(bundle, None, TEXT, None),
    ]
    composed, *single = encode_queries(bundle, jobs)
    assert composed.image is not None and composed.text is not None
    assert np.array_equal(composed.image, image)
    assert composed.text == pytest.approx(bundle.model.encode_caption(TEXT, normalize=False)[0].numpy(), abs=1e-5)
    assert [(query.image, query.text) for query in single] == [(None, None)] * 2


def test_the_name_of_a_bundle_depends_on_its_reranker(tmp_path: Path) -> None:
    names = [loaded(tmp_path / str(name), reranker=name).info.name for name in (None, "artemis", "attention")]
    assert len(set(names)) == 3
