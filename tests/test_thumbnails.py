"""The cache of thumbnails: one entry for a content and a size, bounded by bytes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from cirray.data.images import PictureError
from cirray.index.items import Item
from serve.thumbnails import Thumbnails
from tests.support.data_fixtures import write_picture
from tests.test_images_metadata import DISPLAY_P3


def item(folder: Path, name: str) -> Item:
    return Item(name, str(write_picture(folder / f"{name}.png", len(name), (50, 20))), content=name)


def test_a_thumbnail_is_made_once_for_a_content_and_a_size(tmp_path: Path) -> None:
    thumbnails, shown = Thumbnails("white"), item(tmp_path, "a")
    first = thumbnails.get(shown, 10)
    with Image.open(BytesIO(first)) as picture:
        assert (picture.format, picture.size) == ("WEBP", (10, 4))
    Path(shown.image).unlink()
    assert thumbnails.get(shown, 10) is first
    for other in ((shown, 20), (Item("a", shown.image, content="changed"), 10)):
        with pytest.raises(PictureError):
            thumbnails.get(*other)


def test_the_least_recently_used_thumbnails_are_dropped(tmp_path: Path) -> None:
    items = [item(tmp_path, name) for name in ("a", "bb", "ccc")]
    sizes = [len(Thumbnails("white").get(one, 10)) for one in items]
    thumbnails = Thumbnails("white", max_bytes=sum(sizes) - 1)
    a, b, c = items
    for one in (a, b, a, c):
        thumbnails.get(one, 10)
    for one in items:
        Path(one.image).unlink()
    assert thumbnails.get(a, 10)
    assert thumbnails.get(c, 10)
    with pytest.raises(PictureError):
        thumbnails.get(b, 10)


def test_a_thumbnail_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    thumbnails, shown = Thumbnails("white", max_bytes=10), item(tmp_path, "a")
    assert len(thumbnails.get(shown, 10)) > 10
    Path(shown.image).unlink()
    with pytest.raises(PictureError):
        thumbnails.get(shown, 10)


def test_a_thumbnail_is_srgb_whatever_profile_the_picture_has(tmp_path: Path) -> None:
    path = tmp_path / "p3.png"
    Image.new("RGB", (8, 8), (234, 51, 35)).save(path, icc_profile=DISPLAY_P3)
    with Image.open(BytesIO(Thumbnails("white").get(Item("p3", str(path), content="p3"), 8))) as picture:
        assert "icc_profile" not in picture.info
        red, green, blue = picture.convert("RGB").getpixel((4, 4))
    assert red > 245
    assert max(green, blue) < 10
