"""The demo catalog: its layout, its determinism, its captions and its pictures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cirray.demo.attributes import (
    ATTRIBUTES,
    CATEGORIES,
    Attribute,
    Category,
    Garment,
    can_have_logo,
    differences,
    sample_distinct,
    sample_garment,
    variants,
)
from cirray.demo.catalog import SPLITS, Sizes, write_catalog
from cirray.demo.drawing import draw
from cirray.demo.phrases import relative_captions, title
from cirray.errors import DataError

SMALL = Sizes(train=16, val=10, train_triplets=20, val_triplets=8)

# One of these words stands in every pair of captions that leads to the value.
SAID: dict[str, tuple[str, ...]] = {
    "sleeveless": ("sleeveless", "no sleeves", "sleeves removed"),
    "short": ("short sleeve", "short-sleeve"),
    "three-quarter": ("three-quarter", "three quarter"),
    "long": ("long", "longer"),
    "crew": ("crew",),
    "v-neck": ("v-neck", "v neck"),
    "scoop": ("scoop",),
    "off-shoulder": ("off the shoulder", "off-shoulder"),
    "classic collar": ("classic",),
    "band collar": ("band collar",),
    "open collar": ("open",),
    "polo collar": ("polo",),
    "mini": ("mini", "shorter"),
    "knee": ("knee",),
    "maxi": ("maxi", "longer"),
    "cropped": ("cropped", "shorter"),
    "regular": ("regular",),
    "plain": ("plain", "solid"),
    "striped": ("stripe",),
    "dotted": ("dot",),
    "checked": ("check", "plaid"),
    "floral": ("flor", "flower"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "catalog"
    write_catalog(folder, seed=3, sizes=SMALL)
    return folder


def digest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def load(path: Path) -> list:
    return json.loads(path.read_text())


def catalog(root: Path) -> dict[str, dict]:
    records = [json.loads(line) for line in (root / "catalog.jsonl").read_text().splitlines()]
    return {record["id"]: record for record in records}


def garments(root: Path) -> dict[str, Garment]:
    return {name: Garment(**{k: r[k] for k in ("category", *ATTRIBUTES)}) for name, r in catalog(root).items()}


def garment_with(category: Category, attribute: Attribute, rng: np.random.Generator) -> tuple[Garment, Garment]:
    """A garment and one that differs from it in that attribute only."""
    while True:
        garment = sample_garment(category, rng)
        others = [v for v in variants(garment, attribute) if differences(garment, v) == (attribute,)]
        if others:
            return garment, others[rng.integers(len(others))]


def test_the_layout_is_that_of_fashioniq(root: Path) -> None:
    images = {path.stem for path in (root / "images").iterdir()}
    seen: list[str] = []
    for category in CATEGORIES:
        for split in SPLITS:
            names = load(root / "image_splits" / f"split.{category}.{split}.json")
            assert len(names) == (SMALL.train if split == "train" else SMALL.val)
            seen += names
            triplets = load(root / "captions" / f"cap.{category}.{split}.json")
            assert len(triplets) == (SMALL.train_triplets if split == "train" else SMALL.val_triplets)
            for triplet in triplets:
                assert set(triplet) == {"target", "candidate", "captions"}
                assert triplet["target"] != triplet["candidate"]
                assert {triplet["target"], triplet["candidate"]} <= set(names)
    assert len(seen) == len(set(seen))  # splits and categories are disjoint
    assert set(seen) == images == set(json.loads((root / "titles.json").read_text())) == set(catalog(root))


def test_garments_are_distinct_across_both_splits(root: Path) -> None:
    assert len(set(garments(root).values())) == len(garments(root))


def test_images_open_as_rgb_squares(root: Path) -> None:
    for record in catalog(root).values():
        with Image.open(root / record["image"]) as picture:
            picture.load()
            assert picture.mode == "RGB" and picture.size == (192, 192)


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cirray.demo.pictures.POOL_FROM", 1)
    write_catalog(tmp_path / "again", seed=3, sizes=SMALL, workers=2)
    assert digest(tmp_path / "again") == digest(root)


def test_another_seed_gives_another_catalog(root: Path, tmp_path: Path) -> None:
    tiny = Sizes(train=4, val=3, train_triplets=2, val_triplets=2)
    write_catalog(tmp_path / "one", seed=1, sizes=tiny)
    write_catalog(tmp_path / "two", seed=2, sizes=tiny)
    assert digest(tmp_path / "one") != digest(tmp_path / "two")


def test_a_complete_catalog_is_left_alone(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    write_catalog(root, seed=3, sizes=SMALL)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_foreign_folder_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(
        DataError, match=r"contains something else and is not overwritten: give a folder that does not exist"
    ):
        write_catalog(tmp_path, sizes=SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.txt"]


def test_a_catalog_of_another_seed_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="another demo catalog"):
        write_catalog(root, seed=4, sizes=SMALL)


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        write_catalog(tmp_path / "demo", sizes=SMALL)
    assert list(tmp_path.iterdir()) == []


def test_too_many_distinct_garments_is_an_error() -> None:
    with pytest.raises(ValueError, match="distinct garments"):
        sample_distinct("dress", 2600, np.random.default_rng(0))


def test_written_captions_differ_and_are_not_empty(root: Path) -> None:
    for path in (root / "captions").iterdir():
        for triplet in load(path):
            one, two = triplet["captions"]
            assert one and two and one != two and one == one.lower() and "  " not in one + two


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_pair_of_captions_mentions_every_change(category: Category) -> None:
    rng = np.random.default_rng(7)
    for _ in range(400):
        reference, target = sample_garment(category, rng), sample_garment(category, rng)
        changed = differences(reference, target)
        if not changed:
            continue
        one, two = relative_captions(reference, target, rng)
        assert one != two
        both = f"{one} | {two}"
        for attribute in changed:
            value = getattr(target, attribute)
            words = ("logo",) if attribute == "logo" else SAID.get(value, (str(value),))
            assert any(word in both for word in words), (attribute, value, both)


def test_titles_name_every_attribute() -> None:
    rng = np.random.default_rng(5)
    for category in CATEGORIES:
        for _ in range(60):
            garment = sample_garment(category, rng)
            text = title(garment, rng)
            for attribute in ("colour", "sleeve", "neckline", "length", "pattern"):
                value = getattr(garment, attribute)
                assert any(word in text for word in SAID.get(value, (value,))), (attribute, text)
            assert ("logo" in text) == garment.logo


def test_garments_that_do_not_exist_are_refused() -> None:
    plain = Garment("toptee", "red", "short", "crew", "regular", "plain", logo=True)
    assert can_have_logo(plain.category, plain.neckline, plain.pattern)
    with pytest.raises(ValueError, match="no logo"):
        replace(plain, pattern="striped")
    with pytest.raises(ValueError, match="no mini length"):
        replace(plain, length="mini")
    with pytest.raises(ValueError, match="strapless"):
        replace(plain, neckline="off-shoulder", sleeve="sleeveless", logo=False)


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_each_change_is_visible_at_64_pixels(category: Category, attribute: Attribute) -> None:
    if (category, attribute) == ("dress", "logo"):
        pytest.skip("dresses have no logo")
    rng = np.random.default_rng(11)
    for i in range(6):
        pair = garment_with(category, attribute, rng)
        # The same photograph but for the garment, so that only the change makes a difference.
        small = [draw(g, np.random.default_rng(i)).resize((64, 64), Image.Resampling.BICUBIC) for g in pair]
        one, two = (np.asarray(picture, np.float32) for picture in small)
        strongly = np.abs(one - two).max(axis=-1) > 30
        assert strongly.sum() >= 20, (pair, int(strongly.sum()))
