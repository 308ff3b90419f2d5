"""Metadata never refuses a picture: orientation, color profiles, text chunks, and end markers."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import warnings
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from cirray.config.data import Preprocess
from cirray.config.recipe import load_recipe
from cirray.config.training import TrainConfig
from cirray.data.images import PictureError, content_pixels, decode_rgb, picture_suffixes

# Where each orientation (EXIF tag 0x0112) has the rows and columns of the upright picture, as the standard defines it:
# an upright array -> the stored one.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}


def matrix_profile(primaries: list[list[float]], gamma: float = 2.2) -> bytes:
    """An ICC version 2 display profile: three primaries in XYZ (D50) and a gamma."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    text = b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78)
    tags = {b"desc": text, b"cprt": b"text" + bytes(4) + b"x\0", b"wtpt": xyz(fixed, [0.9642, 1.0, 0.8249])}
    for name, primary in zip((b"r", b"g", b"b"), primaries, strict=True):
        tags[name + b"XYZ"] = xyz(fixed, primary)
        tags[name + b"TRC"] = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    table, data = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += name + struct.pack(">II", start + len(data), len(value))
        data += padded
    header = struct.pack(">I4sI4s4s4s", start + len(data), bytes(4), 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp"
    header = header.ljust(68, b"\0") + xyz(fixed, [0.9642, 1.0, 0.8249])[8:]
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def xyz(fixed: Any, values: list[float]) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(fixed, values))


P3 = [[0.5151, 0.2412, -0.0011], [0.2920, 0.6922, 0.0419], [0.1571, 0.0666, 0.7841]]
DISPLAY_P3 = matrix_profile(P3)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
BLACK = matrix_profile([[0.0, 0.0, 0.0]] * 3)
SWAPPED = matrix_profile([P3[1], P3[2], P3[0]])  # absurd for nobody: white is white
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
UNUSABLE = {"empty": b"", "text": b"not a profile", "half": DISPLAY_P3[:300], "LAB": LAB, "black": BLACK}


def p3_to_srgb(pixels: np.ndarray) -> np.ndarray:
    """Display P3 with gamma 2.2 to sRGB by the definitions, without an ICC library: uint8 [..., 3] to float."""
    linear = (pixels / 255.0) ** 2.2 @ np.array(P3)
    srgb = np.array([[0.4360, 0.2225, 0.0139], [0.3851, 0.7169, 0.0971], [0.1431, 0.0606, 0.7141]])
    linear = np.clip(linear @ np.linalg.inv(srgb), 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(width: int, height: int, bands: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)


def exif_with(orientation: int, before: int = 0, order: str = "<", header: bool = True) -> bytes:
    """An EXIF block whose other entries point nowhere."""
    entries = [struct.pack(f"{order}HHII", 0x0100 + i, 2, 4_000_000, 0x7FFFFFF0) for i in range(before)]
    entries.append(struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0))
    entries.append(struct.pack(f"{order}HHII", 0x011A, 5, 1, 0x7FFFFFF0))
    block = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(entries)) + b"".join(entries)
    return (b"Exif\0\0" if header else b"") + block


MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "I;16", "CMYK")
PROFILES = {"none": None, "P3": DISPLAY_P3, "sRGB": SRGB, **UNUSABLE}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(STORED)),
    st.sampled_from(MODES),
    st.sampled_from(sorted(PROFILES)),
    st.sampled_from(["PNG", "TIFF", "WEBP"]),
    st.integers(0, 2**16),
)
def test_any_orientation_mode_and_profile(orientation: int, mode: str, profile: str, kind: str, seed: int) -> None:
    """The oracle turns and converts arrays, without Pillow's transposition and without an ICC library."""
    mode = {"PNG": mode.replace("CMYK", "RGB"), "WEBP": mode if mode in ("RGB", "RGBA") else "RGB"}.get(kind, mode)
    shown = Image.fromarray(noise(7, 5, 4, seed), "CMYK" if mode == "CMYK" else "RGBA")
    if mode == "I;16":
        shown = Image.fromarray(noise(7, 5, 1, seed)[..., 0].astype(np.uint16) * 257)
    else:
        shown = shown.convert("RGB").convert(mode) if mode in ("P", "1", "L") else shown.convert(mode)
    turned = np.ascontiguousarray(STORED[orientation](np.asarray(shown)))
    stored = Image.fromarray(turned, None if mode in ("1", "I;16") else mode)
    if mode == "P":
        stored.putpalette(shown.getpalette() or [])
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(stored, kind, exif=exif, icc_profile=PROFILES[profile], **options)
    plain = decode_rgb(encoded(shown, kind, **options), "x", "white")
    expected = np.asarray(plain).astype(float)
    if profile == "P3" and mode not in ("CMYK", "RGBA", "LA"):
        expected = p3_to_srgb(expected)
    if profile in ("P3", "sRGB") and mode in ("RGBA", "LA"):  # converted before it is laid on the background
        colors, alpha = np.asarray(shown.convert("RGBA"))[..., :3], np.asarray(shown.convert("RGBA"))[..., 3:] / 255
        expected = (p3_to_srgb(colors) if profile == "P3" else colors) * alpha + 255 * (1 - alpha)
    found = np.asarray(decode_rgb(content, "x", "white")).astype(float)
    np.testing.assert_allclose(found, expected, atol=3 if profile == "P3" else 2)


def test_a_display_p3_red_is_srgb_red_for_new_bundles_and_as_stored_for_old_ones() -> None:
    content = encoded(Image.new("RGB", (8, 8), (234, 51, 35)), icc_profile=DISPLAY_P3)
    before = {"pad": "target", "ratio": 1.25, "background": "white", "convert": "first"}
    new, old = Preprocess(), Preprocess.stored(before)
    np.testing.assert_allclose(content_pixels(content, "x", 4, new)[:, 1, 1], (255, 0, 0), atol=4)
    np.testing.assert_array_equal(content_pixels(content, "x", 4, old)[:, 1, 1], (234, 51, 35))
    last = Preprocess(convert="last")
    np.testing.assert_array_equal(content_pixels(content, "x", 4, last)[:, 1, 1], (234, 51, 35))
    assert "icc_profile" not in decode_rgb(content, "x", "white").info


@pytest.mark.parametrize(
    ("recipe", "color"),
    [
        ("default", "srgb"),
        ("tiny", "srgb"),
        ("demo", "srgb"),
        ("fashioniq-modern", "srgb"),
        ("clip4cir", "as-stored"),
        ("fashioniq-rn50", "as-stored"),
        ("fashioniq-rn50x4", "as-stored"),
        ("cirr-rn50", "as-stored"),
        ("cirr-rn50x4", "as-stored"),
    ],
)
def test_recipes_that_reproduce_the_reference_read_colors_as_it_does(recipe: str, color: str) -> None:
    assert load_recipe(TrainConfig, recipe, {}).preprocess.color == color


@pytest.mark.parametrize("profile", UNUSABLE)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_an_unusable_profile_is_as_none(profile: str, mode: str) -> None:
    image = Image.fromarray(noise(9, 6, 4)).convert("RGB").convert(mode)
    plain = decode_rgb(encoded(image, "TIFF"), "x", "white")
    found = decode_rgb(encoded(image, "TIFF", icc_profile=UNUSABLE[profile]), "x", "white")
    np.testing.assert_array_equal(found, plain)


def test_a_gray_profile_is_applied_to_gray_and_ignored_for_color() -> None:
    gray = gray_profile(gamma=1.0)
    picture = Image.new("L", (4, 4), 64)
    found = decode_rgb(encoded(picture, icc_profile=gray), "x", "white").getpixel((1, 1))
    expected = 255 * (1.055 * (64 / 255) ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(found, [expected] * 3, atol=2)
    color = Image.new("RGB", (4, 4), (64, 64, 64))
    assert decode_rgb(encoded(color, icc_profile=gray), "x", "white").getpixel((1, 1)) == (64, 64, 64)


def gray_profile(gamma: float) -> bytes:
    whole = matrix_profile(P3, gamma)
    return whole[:16] + b"GRAY" + whole[20:].replace(b"rTRC", b"kTRC")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(STORED)),
    st.integers(0, 40),
    st.sampled_from("<>"),
    st.booleans(),
    st.sampled_from(["JPEG", "PNG", "WEBP"]),
)
def test_the_orientation_is_found_beside_broken_entries(
    orientation: int, before: int, order: str, header: bool, kind: str
) -> None:
    picture = Image.new("RGB", (48, 32), "red")
    picture.paste("blue", (0, 0, 16, 16))
    content = encoded(picture, kind, exif=exif_with(orientation, min(before, 18), order, header or kind != "WEBP"))
    stored = np.asarray(decode_rgb(encoded(picture, kind), "x", "white"))
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of broken entries
        np.testing.assert_array_equal(decode_rgb(content, "x", "white"), STORED[inverse](stored))


def chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    sum_ = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", sum_)


def with_chunks(content: bytes, *chunks: bytes, at_end: bool = False) -> bytes:
    position = len(content) - 12 if at_end else 33
    return content[:position] + b"".join(chunks) + content[position:]


HUGE = zlib.compress(bytes(2_000_000))
CHUNKS = {
    "2 MB of iCCP": chunk(b"iCCP", b"x\0\0" + HUGE),
    "2 MB of zTXt": chunk(b"zTXt", b"x\0\0" + HUGE),
    "2 MB of XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + HUGE),
    "a wrong checksum": chunk(b"tEXt", b"x\0y", 1),
    "a short gamma": chunk(b"gAMA", b"\0"),
    "a short resolution": chunk(b"pHYs", b"\0"),
    "half a profile": chunk(b"iCCP", b"x\0\0" + HUGE[:20]),
    "an unknown chunk": chunk(b"teSt", b"x", 1),
}


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("kind", CHUNKS)
def test_png_metadata_does_not_refuse_the_picture(kind: str, at_end: bool) -> None:
    pixels = noise(20, 15)
    content = with_chunks(encoded(Image.fromarray(pixels)), CHUNKS[kind], at_end=at_end)
    np.testing.assert_array_equal(decode_rgb(content, "x", "white"), pixels)


def test_salvaged_png_keeps_transparency_orientation_and_a_long_profile() -> None:
    palette = Image.new("P", (6, 4), 1)
    palette.putpalette([0, 0, 0, 234, 51, 35])
    palette.putpixel((0, 0), 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(palette, transparency=0, exif=exif)
    long = DISPLAY_P3 + random.Random(0).randbytes(1_500_000)
    damaged = with_chunks(content, CHUNKS["a wrong checksum"], chunk(b"iCCP", b"x\0\0" + zlib.compress(long)))
    found = decode_rgb(damaged, "x", "white")
    assert found.size == (4, 6)
    assert found.getpixel((3, 0)) == (255, 255, 255)
    np.testing.assert_allclose(found.getpixel((0, 3)), (255, 0, 0), atol=4)


def test_a_wrong_checksum_of_pixel_data_is_refused() -> None:
    content = encoded(Image.fromarray(noise(20, 15)))
    position = content.index(b"IDAT") + 40
    damaged = content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
    with pytest.raises(PictureError, match=r"x: cannot be decoded"):
        decode_rgb(damaged, "x", "white")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.integers(0xE0, 0xFE), st.binary(max_size=80), st.sampled_from([b"", b"JFIF\0", b"Exif\0\0", b"MPF\0", b"Adobe"])
)
def test_any_bytes_in_a_segment_of_a_jpeg_do_not_refuse_the_picture(marker: int, data: bytes, name: bytes) -> None:
    if 0xF0 <= marker < 0xFE or (marker == 0xEE and name == b"Adobe"):  # not metadata; it has the color transform
        return
    content = encoded(Image.fromarray(noise(20, 15)), "JPEG")
    segment = struct.pack(">BBH", 0xFF, marker, len(name + data) + 2) + name + data
    size = decode_rgb(content[:2] + segment + content[2:], "x", "white").size
    assert sorted(size) == [15, 20]


JPEGS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_blocks": 1},
    "progressive with restart markers": {"progressive": True, "restart_marker_rows": 1},
    "full quality": {"quality": 100, "subsampling": 0},
}


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_may_lack_its_end_marker_but_no_pixel_data(kind: str, mode: str) -> None:
    image = Image.fromarray(noise(50, 40)).resize((96, 80)).convert(mode)
    content = encoded(image, "JPEG", **JPEGS[kind])
    whole = np.asarray(decode_rgb(content, "x", "white"))
    for cut in (1, 2):
        np.testing.assert_array_equal(decode_rgb(content[:-cut], "x", "white"), whole)
    cuts = {*range(5, 60), *random.Random(0).sample(range(60, len(content) - 20), 20)}
    for cut in sorted(cuts):
        try:
            found = decode_rgb(content[:-cut], "x", "white")
        except PictureError:
            continue
        np.testing.assert_array_equal(found, whole)  # the last scan of a progressive file may end with nothing


@pytest.mark.parametrize(("kind", "cut"), [("PNG", 12), ("GIF", 1)])
def test_other_formats_may_lack_their_end_marker(kind: str, cut: int) -> None:
    image = Image.fromarray(noise(20, 15)).quantize(16).convert("RGB")
    content = encoded(image, kind)
    whole = np.asarray(decode_rgb(content, "x", "white"))
    np.testing.assert_array_equal(decode_rgb(content[:-cut], "x", "white"), whole)


def test_limits_hold_for_salvaged_pictures() -> None:
    content = with_chunks(encoded(Image.new("L", (17_000, 200))), CHUNKS["a wrong checksum"])
    with pytest.raises(PictureError, match="a side longer"):
        decode_rgb(content, "x", "white")


@pytest.mark.parametrize("kind", ["HEIF", "AVIF", "JPEG2000", "DDS", "QOI", "PCX", "SGI", "DIB", "TIFF", "PPM", "XBM"])
def test_formats_are_decoded(kind: str) -> None:
    picture_suffixes()  # registers the encoder of HEIF too
    pixels = np.repeat(np.repeat(noise(4, 3), 16, 0), 16, 1)
    if kind == "XBM":
        pixels = np.where(pixels[..., :1] > 127, 255, 0).astype(np.uint8).repeat(3, 2)
    image = Image.fromarray(pixels)
    content = encoded(image.convert("1") if kind == "XBM" else image, kind)
    found = np.asarray(decode_rgb(content, "x", "white")).astype(int)
    assert np.abs(found - pixels).mean() < 12
    with pytest.raises(PictureError, match="more than 100"):
        content_pixels(content, "x", 8, Preprocess(), max_pixels=100)


def test_the_first_picture_of_several_counts() -> None:
    for kind in ("MPO", "GIF", "TIFF", "WEBP"):
        first, second = Image.new("RGB", (30, 20), "red"), Image.new("RGB", (30, 20), "blue")
        content = encoded(first, kind, save_all=True, append_images=[second])
        np.testing.assert_allclose(decode_rgb(content, "x", "white").getpixel((9, 9)), (255, 0, 0), atol=4)


def test_heif_is_turned_once() -> None:
    picture_suffixes()
    image = Image.new("RGB", (64, 32), "red")
    image.paste("blue", (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.info["exif"] = exif.tobytes()  # the encoder writes both a rotation and EXIF
    found = decode_rgb(encoded(image, "HEIF"), "x", "white")
    assert found.size == (32, 64)
    np.testing.assert_allclose(found.getpixel((16, 8)), (0, 0, 255), atol=40)


def test_suffixes_of_pictures() -> None:
    suffixes = picture_suffixes()
    assert {".jpg", ".png", ".webp", ".heic", ".heif", ".mpo", ".avif", ".tiff", ".jp2"} <= suffixes
    assert not {".eps", ".ps", ".wmf", ".emf", ".fits", ".ico", ".icns", ".mpg", ".h5"} & suffixes


def test_importing_the_module_changes_nothing_in_pillow() -> None:
    code = "import cirray.data.images, PIL.Image as I, sys; print('HEIF' in I.OPEN, 'pillow_heif' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
