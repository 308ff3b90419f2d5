"""Pictures that show no difference: equal files and nearly equal pixels, but no small real difference."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cirray.data.made_triplets.attribute_pairs import AttributePairs
from cirray.data.made_triplets.draw import draw_pairs
from cirray.data.made_triplets.duplicates import read_thumbnails
from tests.support.data_fixtures import write_picture
from tests.support.made_items import item


def photo(seed: int = 0) -> Image.Image:
    """A smooth picture with an edge, as photos of products are."""
    small = Image.fromarray(np.random.default_rng(seed).integers(40, 216, (6, 6, 3), dtype=np.uint8))
    image = small.resize((400, 500), Image.Resampling.BICUBIC)
    ImageDraw.Draw(image).rectangle((120, 150, 280, 400), fill=(200, 30, 40))
    return image


def is_nearly(folder: Path, one: Image.Image, other: Image.Image) -> bool:
    paths = [folder / "one.png", folder / "other.png"]
    for path, image in zip(paths, (one, other), strict=True):
        image.save(path)
    thumbnails, failures = read_thumbnails(paths)
    assert not failures
    return thumbnails[paths[0]].is_nearly(thumbnails[paths[1]])


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    content = BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(content).convert("RGB")


@pytest.mark.parametrize("quality", [95, 80, 60])
def test_a_compressed_picture_is_nearly_identical(tmp_path: Path, quality: int) -> None:
    assert is_nearly(tmp_path, photo(), jpeg(photo(), quality))


def test_a_smaller_picture_is_nearly_identical(tmp_path: Path) -> None:
    assert is_nearly(tmp_path, photo(), photo().resize((320, 400), Image.Resampling.LANCZOS))


def test_a_small_logo_is_a_difference(tmp_path: Path) -> None:
    other = photo()
    ImageDraw.Draw(other).ellipse((190, 190, 206, 206), fill=(250, 250, 250))
    assert not is_nearly(tmp_path, photo(), other)


def test_another_color_of_equal_brightness_is_a_difference(tmp_path: Path) -> None:
    one, other = Image.new("RGB", (64, 64), (150, 100, 100)), Image.new("RGB", (64, 64), (100, 126, 100))
    assert one.convert("L").getpixel((0, 0)) == pytest.approx(other.convert("L").getpixel((0, 0)), abs=1)
    assert not is_nearly(tmp_path, one, other)


def test_a_file_is_read_once_and_a_broken_one_is_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good, bad = write_picture(tmp_path / "good.png"), tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    thumbnails, failures = read_thumbnails([good, bad, good])
    assert list(thumbnails) == [good] and "is not a picture" in failures[bad]
    assert "2/2" in capfd.readouterr().err


def test_pairs_with_nearly_identical_pictures_are_left_out_and_counted() -> None:
    entries = [item(n, group="p", colour=f"c{n}", sleeve="short") for n in range(5)]
    same = {"i0", "i1", "i2"}
    drawn = draw_pairs(
        [(AttributePairs(entries, ("colour", "sleeve"), 0), 1.0)], 100, 0, lambda one, other: {one.id, other.id} <= same
    )
    pairs = {(pair.reference.id, pair.target.id) for pair in drawn.pairs}
    assert len(pairs) == 5 * 4 - 3 * 2 and drawn.identical == 3
    assert not any(set(ids) <= same for ids in pairs)
