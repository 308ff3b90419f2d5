"""The indexing job: what it embeds and publishes, what it refuses, and what a kill leaves."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cirray.errors import ConfigError, DataError, SearchIndexError
from cirray.index.edge import EdgeBackend, EdgeReader
from cirray.index.verify import verify
from tests.support.bundles import write_bundle
from tests.support.encoder_fixtures import make_encoder
from tests.support.jobs import Finished, run_job, succeed
from tests.support.runs import REPOSITORY
from tests.support.service_fixtures import Shop, write_shop


@pytest.fixture
def store(tmp_path: Path) -> Shop:
    """A shop that a test may change."""
    return write_shop(tmp_path)


def rewrite(shop: Shop, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Changes the catalog's entries."""
    rows = [json.loads(line) for line in shop.catalog.read_text(encoding="utf-8").splitlines()]
    shop.catalog.write_text("".join(json.dumps(row) + "\n" for row in change(rows)), encoding="utf-8")


def published(shop: Shop) -> EdgeReader:
    backend = EdgeBackend(shop.index)
    return backend.open(backend.published() or "")


def draw(path: Path, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def test_the_first_run_indexes_everything(store: Shop) -> None:
    reader = published(store)
    assert sorted(reader.digests()) == sorted(store.ids)
    assert reader.generation.count == 40
    assert {attribute.name for attribute in reader.generation.attributes} == {"colour", "shape", "price", "large"}
    item = reader.items(["large-red-bar"])["large-red-bar"]
    assert (item.title, item.attributes["colour"], item.attributes["large"]) == ("a large red bar", "red", True)
    reader.close()


def test_a_second_run_does_nothing(store: Shop) -> None:
    before = EdgeBackend(store.index).published()
    report = store.rebuild()
    assert (report["added"], report["changed"], report["removed"], report["embedded"]) == (0, 0, 0, 0)
    assert report["generation"] == EdgeBackend(store.index).published() == before


def test_adds_changes_and_removals_against_the_last_generation(store: Shop) -> None:
    pictures = store.catalog.parent / "images"
    draw(pictures / "new.png", 1)
    draw(pictures / "large-red-bar.png", 2)

    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        by_id = {row["id"]: row for row in rows if row["shape"] != "triangle"}
        by_id["small-blue-bar"]["price"] = 999.0
        return [*by_id.values(), {"id": "new", "image": "images/new.png", "colour": "mixed"}]

    old = published(store).features(["large-red-bar"])["large-red-bar"]
    rewrite(store, change)
    report = store.rebuild()
    assert (report["added"], report["changed"], report["removed"], report["unchanged"]) == (1, 2, 10, 28)
    assert report["embedded"] == 2, "a new picture and a redrawn one"
    reader = published(store)
    assert sorted(reader.digests()) == sorted(store.ids)
    assert reader.items(["small-blue-bar"])["small-blue-bar"].attributes["price"] == 999.0
    assert not np.allclose(reader.features(["large-red-bar"])["large-red-bar"], old)
    reader.close()


def test_another_image_tower_builds_from_nothing(store: Shop) -> None:
    write_bundle(store.bundle, encoder=make_encoder(seed=3))
    before = published(store).generation
    report = store.rebuild()
    assert report["embedded"] == 40
    after = published(store).generation
    assert after.image_fingerprint != before.image_fingerprint
    assert after.count == 40


def test_another_text_side_needs_no_new_index(store: Shop) -> None:
    write_bundle(store.bundle, seed=9)
    report = store.rebuild()
    assert (report["embedded"], report["generation"]) == (0, published(store).generation.name)


def test_roll_back_and_forth(store: Shop) -> None:
    backend = EdgeBackend(store.index)
    first = backend.published()
    rewrite(store, lambda rows: rows[:30])
    second = store.rebuild()["generation"]
    assert backend.roll_back() == first
    assert published(store).count() == 40
    assert store.rebuild()["generation"] == second, "the generation that holds this catalog is still there"
    assert published(store).count() == 30


def test_bad_pictures_are_listed_not_fatal(store: Shop) -> None:
    pictures = store.catalog.parent / "images"
    (pictures / "large-red-bar.png").write_bytes(b"not a picture")
    (pictures / "small-red-bar.png").unlink()
    report = store.rebuild(index__max_bad=0.1)
    assert len(report["bad"]) == 2
    assert {entry["where"].split(":")[0] for entry in report["bad"]} == {"catalog.jsonl"}
    assert "not a picture in a known format" in json.dumps(report["bad"])
    assert "does not exist" in json.dumps(report["bad"])
    assert published(store).count() == 38


def test_too_many_bad_entries_publish_nothing(store: Shop) -> None:
    before = EdgeBackend(store.index).published()
    for path in sorted((store.catalog.parent / "images").iterdir())[:5]:
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"5 of 40 entries .* more than max_bad allows \(5%\)"):
        store.rebuild()
    assert EdgeBackend(store.index).published() == before


def test_a_filter_on_an_unknown_attribute_is_refused(store: Shop) -> None:
    with pytest.raises(ConfigError, match=r"color, which no catalog entry has; there are: colour, large, price"):
        store.rebuild(index__filters=("color",))


def test_a_generation_that_lost_items_is_not_verified(store: Shop) -> None:
    reader = published(store)
    wanted = {**reader.digests(), "one more": "x"}
    with pytest.raises(SearchIndexError, match="it holds 40 items, and the catalog 41"):
        verify(reader, wanted, 8)
    reader = published(store)
    wanted = {**reader.digests(), "not there": "x"}
    del wanted["large-red-bar"]
    with pytest.raises(SearchIndexError, match=r"1 of 40 items do not find themselves, such as not there"):
        verify(reader, wanted, 40)


def test_old_generations_are_deleted(store: Shop) -> None:
    for count in (39, 38, 37):
        rewrite(store, lambda rows, count=count: rows[:count])  # type: ignore[misc]
        store.rebuild(index__keep=2)
    assert [generation.count for generation in EdgeBackend(store.index).generations()] == [38, 37]


def arguments(shop: Shop, *more: str) -> list[str]:
    places = ["--index.path", str(shop.index), "--store", str(shop.store)]
    return ["--bundle", str(shop.bundle), "--catalog", str(shop.catalog), *places, *more]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["image features", "uploading", "building the graph", "verifying"])
def test_killed_at_any_point_and_run_again(store: Shop, moment: str) -> None:
    pictures = store.catalog.parent / "images"
    for number in range(200):
        draw(pictures / f"more-{number}.png", number)
    more = [{"id": f"more-{n}", "image": f"images/more-{n}.png", "price": float(n)} for n in range(200)]
    before = EdgeBackend(store.index).published()
    rewrite(store, lambda rows: rows[5:] + more)
    # Small steps, so that the kill comes in the middle of the work.
    settings = arguments(store, "--index.batch", "1", "--embed.shard_rows", "16")
    command = [sys.executable, str(REPOSITORY / "jobs" / "index.py"), *settings]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if moment in line:
            process.send_signal(signal.SIGKILL)
            break
    assert process.wait(60) == -signal.SIGKILL
    process.stderr.close()
    backend = EdgeBackend(store.index)
    assert backend.published() == before
    assert backend.open(before or "").count() == 40, "what is served is as it was"

    report = json.loads(succeed("index", *settings).stdout)
    assert (report["items"], report["added"], report["removed"]) == (235, 200, 5)
    reader = published(store)
    assert reader.count() == 235
    assert sorted(reader.digests()) == sorted(store.ids)
    reader.close()


def test_the_job_lists_rolls_back_and_says_what_is_missing(store: Shop) -> None:
    rewrite(store, lambda rows: rows[:20])
    store.rebuild()

    def run(*more: str) -> Finished:
        return run_job("index", *more, "--index.path", str(store.index))

    listed = json.loads(run("--list").stdout)
    assert [generation["items"] for generation in listed["generations"]] == [40, 20]
    rolled = json.loads(run("--rollback").stdout)
    assert rolled["published"] == listed["generations"][0]["name"]
    failed = run("--rollback")
    assert failed.returncode == 2
    assert "no complete generation before" in failed.stderr
    assert "--catalog PATH is missing" in run("--bundle", str(store.bundle)).stderr
    assert "give either" in run("--list", "--rollback").stderr
    wrong = run("--bundle", str(store.bundle / "nothing"), "--catalog", str(store.catalog))
    assert "not a complete model bundle" in wrong.stderr


def test_the_result_is_written_with_its_configuration(store: Shop, tmp_path: Path) -> None:
    shutil.rmtree(store.index)
    output = tmp_path / "out"
    succeed("index", *arguments(store, "--output", str(output)))
    assert json.loads((output / "index.json").read_text())["items"] == 40
    assert "max_bad" in (output / "config.yaml").read_text()
