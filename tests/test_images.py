import pickle
import struct
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize
from torchvision.transforms import functional as F

from cirray.config.data import Preprocess
from cirray.data import images
from cirray.data.images import PictureError, decode_rgb, open_rgb, pixels, square_pad, target_pad
from cirray.errors import DataError


def noise(width, height, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def reference_pixels(image, size, preprocess):
    """CLIP4Cir's preprocessing, implemented with torchvision."""
    width, height = image.size
    if preprocess.pad == "target" and max(width, height) / min(width, height) >= preprocess.ratio:
        scaled = max(width, height) / preprocess.ratio
        padding = [max(int((scaled - side) / 2), 0) for side in (width, height)]
        image = F.pad(image, padding * 2, 0, "constant")
    if preprocess.pad == "square":
        padding = [int((max(width, height) - side) / 2) for side in (width, height)]
        image = F.pad(image, padding * 2, 0, "constant")
    image = CenterCrop(size)(Resize(size, InterpolationMode.BICUBIC)(image))
    return np.asarray(image).transpose(2, 0, 1)


@pytest.mark.parametrize("pad", ["target", "square", "none"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 7), (7, 1), (64, 64), (65, 64), (80, 64), (79, 64), (33, 101), (300, 31), (29, 30)]
)
def test_pixels_are_those_of_torchvision(shape, pad):
    preprocess = Preprocess(pad=pad)
    for size in (32, 33):
        result = pixels(noise(*shape), size, preprocess)
        assert result.dtype == np.uint8
        assert result.shape == (3, size, size)
        np.testing.assert_array_equal(result, reference_pixels(noise(*shape), size, preprocess))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(1, 150),
    st.integers(1, 150),
    st.integers(1, 48),
    st.sampled_from(["target", "square", "none"]),
    st.floats(1.0, 2.0),
)
def test_pixels_are_those_of_torchvision_at_any_size(width, height, size, pad, ratio):
    preprocess, image = Preprocess(pad=pad, ratio=ratio), noise(width, height)
    np.testing.assert_array_equal(pixels(image, size, preprocess), reference_pixels(image, size, preprocess))


def test_target_pad_pads_the_short_side_to_the_ratio_with_zeros():
    padded = target_pad(Image.new("RGB", (200, 100), "white"), 1.25)
    assert padded.size == (200, 160)
    assert padded.getpixel((0, 29)) == (0, 0, 0)
    assert padded.getpixel((0, 30)) == (255, 255, 255)
    assert target_pad(padded.crop((0, 0, 124, 100)), 1.25).size == (124, 100)


def test_square_pad_rounds_down():
    assert square_pad(Image.new("RGB", (10, 7))).size == (10, 9)
    assert square_pad(Image.new("RGB", (7, 10))).size == (9, 10)


def saved(image, tmp_path, name="x.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize(("background", "expected"), [("white", (255, 128, 128)), ("black", (127, 0, 0))])
def test_alpha_is_laid_on_the_background(tmp_path, background, expected):
    file = saved(Image.new("RGBA", (4, 4), (255, 0, 0, 127)), tmp_path)
    image = open_rgb(file, background)
    assert image.mode == "RGB"
    np.testing.assert_allclose(image.getpixel((1, 1)), expected, atol=1)


@pytest.mark.parametrize("name", ["x.png", "x.gif"])
def test_palette_transparency_is_laid_on_the_background(tmp_path, name):
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    palette.putpixel((0, 0), 0)
    image = open_rgb(saved(palette, tmp_path, name, transparency=0), "white")
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((2, 2)) == (10, 200, 30)


def test_gray_alpha_is_laid_on_the_background(tmp_path):
    image = open_rgb(saved(Image.new("LA", (4, 4), (90, 0)), tmp_path), "white")
    assert image.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(("mode", "color"), [("L", 77), ("1", 1)])
def test_gray_and_bilevel_become_rgb(tmp_path, mode, color):
    image = open_rgb(saved(Image.new(mode, (4, 4), color), tmp_path), "white")
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == ((77,) * 3 if mode == "L" else (255,) * 3)


@pytest.mark.parametrize("name", ["x.png", "x.tiff"])
def test_sixteen_bits_keep_their_high_byte(tmp_path, name):
    values = np.array([[0, 255, 256], [0x7FFF, 0x8000, 0xFFFF]], dtype=np.uint16)
    image = open_rgb(saved(Image.fromarray(values), tmp_path, name), "white")
    np.testing.assert_array_equal(np.asarray(image)[..., 0], values >> 8)


def test_cmyk_becomes_rgb(tmp_path):
    file = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), tmp_path, "x.jpg")
    np.testing.assert_allclose(open_rgb(file, "white").getpixel((8, 8)), (255, 0, 0), atol=6)


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise
    turned = open_rgb(saved(image, tmp_path, "x.jpg", exif=exif), "white")
    assert turned.size == (20, 40)
    assert turned.getpixel((10, 5))[2] > 200


def test_floating_point_pixels_are_refused(tmp_path):
    file = saved(Image.new("F", (4, 4), 0.5), tmp_path, "x.tiff")
    with pytest.raises(PictureError, match="floating-point"):
        open_rgb(file, "white")


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.gif", "x.bmp"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.9])
def test_truncated_files_are_refused(tmp_path, name, share):
    file = saved(noise(100, 80), tmp_path, name)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(PictureError, match=name):
        open_rgb(file, "white")


def test_each_bad_file_has_its_own_error(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "page.png").write_text("<html>404 Not Found</html>")
    (tmp_path / "picture.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    expected = {
        "empty.png": "0 bytes",
        "page.png": "not a picture",
        "picture.eps": "not a picture",
        "missing.png": "does not exist",
        "nul\0.png": "cannot be read",
        ".": "is a folder",
    }
    for name, what in expected.items():
        with pytest.raises(DataError, match=what) as caught:
            open_rgb(tmp_path / name, "white")
        assert str(caught.value).startswith(str(tmp_path / name))


def png_header(width, height):
    """A PNG that claims a size and has hardly any data."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_000, 10_000), (30_000, 30_000), (17_000, 10), (16_000, 100)])
def test_pictures_that_would_fill_the_memory_are_refused_before_decoding(size):
    for action in ("error", "ignore"):
        with warnings.catch_warnings():
            warnings.simplefilter(action, Image.DecompressionBombWarning)
            with pytest.raises(PictureError, match=r"pixels"):
                decode_rgb(png_header(*size), "bomb.png", "white")


def test_the_error_survives_a_trip_between_processes():
    error = pickle.loads(pickle.dumps(PictureError("a.png", "is empty")))  # noqa: S301 - our own bytes
    assert (error.where, error.what, str(error)) == ("a.png", "is empty", "a.png: is empty")


def test_uploaded_bytes_decode_like_a_file(tmp_path):
    stream = BytesIO()
    noise(9, 5).save(stream, "PNG")
    np.testing.assert_array_equal(decode_rgb(stream.getvalue(), "upload", "white"), noise(9, 5))


def test_formats_are_known_to_this_pillow():
    """A format that a newer Pillow opens must be decided on: is it safe, and is its size known before decoding?"""
    images.picture_suffixes()
    Image.init()
    left_out = {
        *("EPS", "WMF"),  # run another program, or have no fixed size
        *("BUFR", "GRIB", "HDF5", "MPEG"),  # only recognized
        *("FITS", "ICO", "CUR", "ICNS", "IPTC"),  # hold compressed pictures of any size
        *("IM", "IMT", "SPIDER", "TGA", "MCIDAS", "GBR", "PIXAR", "XVTHUMB"),  # no clear signature, or no pictures
        *("BLP", "FTEX"),  # textures of games
    }
    assert set(images.FORMATS) == set(Image.OPEN) - left_out
    assert left_out <= set(Image.OPEN)
