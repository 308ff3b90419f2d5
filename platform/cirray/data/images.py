"""Picture files to the input pixels of the image tower.

`open_rgb` decodes any picture to 8-bit sRGB; `pixels` pads, resizes and crops; `file_pixels` does both, in the order
set by `preprocess.convert` and with the colours of `preprocess.color`. The result equals that of CLIP4Cir (TargetPad,
SquarePad) and of torchvision's Resize and CenterCrop on PIL images, pixel by pixel, without importing torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cirray.config.data import Color, Preprocess
from cirray.data.color import to_srgb
from cirray.data.orientation import upright
from cirray.data.salvage import Salvaged, salvage
from cirray.errors import DataError
from cirray.storage.location import Location, is_uri
from cirray.storage.tree import File

Background = Literal["white", "black"]
Result = TypeVar("Result")

# Pillow's own threshold for decompression-bomb warnings.
MAX_PIXELS = 89_478_485
# Padding makes a picture nearly square, and resizing without padding keeps its aspect ratio: a small but very elongated
# file may need a very large intermediate image.
MAX_SIDE = 16_384
MAX_RATIO = 100
# Formats with a signature, a size in the header, and a decoder inside this process. Not EPS, which runs Ghostscript;
# not ICO, ICNS and FITS, whose real size shows only when they are decoded. "JPEG" includes MPO.
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "HEIF", "JPEG2000", "PSD", "QOI", "DDS", "DIB"),
    *("PCX", "DCX", "SGI", "SUN", "MSP", "XBM", "XPM", "FLI", "PCD"),
)
# Reads from an object store are mostly latency, so many of them overlap.
REMOTE_THREADS = 16


class PictureError(DataError):
    """A picture is missing, unreadable, or outside the size limits.

    Attributes:
        where: the file, or another name of the picture.
        what: the problem.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(where, what)
        self.where = where
        self.what = what

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def picture_suffixes() -> frozenset[str]:
    """Returns the suffixes of picture files, in lower case, such as ".jpg"."""
    _register_formats()
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, kind in known if kind in FORMATS or kind == "MPO")


@cache
def _register_formats() -> None:
    """Lets Pillow open HEIF. Called before decoding: importing this module changes nothing in Pillow."""
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False)


def open_rgb(picture: File | str, background: Background) -> Image.Image:
    """Reads a picture file and decodes it completely.

    Args:
        picture: the file; a text is its path or URI.
        background: colour behind transparent pixels.

    Returns:
        An RGB image, rotated by its EXIF orientation, its colours converted to sRGB.

    Raises:
        PictureError: the file is missing, empty, truncated, not a picture, or too large.
        LocationError: its URI cannot be reached.
    """
    return decode_rgb(read_bytes(picture), str(picture), background)


def read_bytes(picture: File | str) -> bytes:
    """Returns the content of a file.

    Raises:
        PictureError: the file is missing, empty, or not a regular file.
        LocationError: its URI cannot be reached.
    """
    where = str(picture)
    content = _read_remote(where) if is_uri(where) else _read_local(Path(where))
    if not content:
        raise PictureError(where, "is empty (0 bytes)")
    return content


def reading_threads(pictures: Iterable[File | str], local: int) -> int:
    """Returns the number of threads to read pictures with: `local`, or REMOTE_THREADS if any is at a URI."""
    return REMOTE_THREADS if any(is_uri(str(picture)) for picture in pictures) else local


def _read_remote(uri: str) -> bytes:
    content = Location.parse(uri).read("")
    if content is None:
        raise PictureError(uri, "does not exist")
    return content


def _read_local(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise PictureError(str(path), "is a folder, not a picture file")
        if path.exists() and not path.is_file():
            raise PictureError(str(path), "is not a regular file")
        return path.read_bytes()
    except FileNotFoundError:
        raise PictureError(str(path), "does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise PictureError(str(path), f"cannot be read ({error})") from None


def decode_rgb(content: bytes, where: str, background: Background) -> Image.Image:
    """Decodes the bytes of a picture file to an upright RGB image; see `open_rgb`.

    Args:
        content: the bytes of the file.
        where: name of the picture in error messages.
        background: colour behind transparent pixels.

    Raises:
        PictureError: not a picture in a known format, damaged, or too large.
    """
    return _decoded(content, where, MAX_PIXELS, lambda image: to_rgb(upright(image), background, "srgb"))


def has_picture_header(picture: File) -> bool:
    """Whether a file exists and starts like a picture; its pixels are not decoded.

    Raises:
        LocationError: its URI cannot be reached.
    """
    _register_formats()
    try:
        with Image.open(BytesIO(read_bytes(picture)), formats=FORMATS):
            return True
    except Exception:  # as in `_decoded`
        return False


def _decoded(content: bytes, where: str, max_pixels: int, use: Callable[[Image.Image], Result]) -> Result:
    """Decodes a picture completely, in its own mode, and returns `use` of it; maps all failures to PictureError."""
    try:
        return use(_loaded(content, where, max_pixels))
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(where, f"is not a picture in a known format ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError:
        raise PictureError(where, f"has more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # broken files make Pillow's decoders raise nearly anything
        raise PictureError(where, f"cannot be decoded ({error or type(error).__name__})") from None


def _loaded(content: bytes, where: str, max_pixels: int) -> Image.Image:
    """Decodes a picture; what Pillow refuses a second time without unneeded metadata."""
    try:
        return _decode(content, where, max_pixels)
    except (PictureError, Image.DecompressionBombError):
        raise
    except Exception:  # as in `_decoded`
        salvaged = salvage(content)
        if salvaged is None:
            raise
    return _decode_salvaged(salvaged, where, max_pixels)


def _decode_salvaged(salvaged: Salvaged, where: str, max_pixels: int) -> Image.Image:
    image, *others = (_decode(variant, where, max_pixels) for variant in salvaged.variants)
    if any(other.tobytes() != image.tobytes() for other in others):
        raise PictureError(where, "cannot be decoded (image file is truncated)")
    if salvaged.profile:
        image.info["icc_profile"] = salvaged.profile
    return image


def _decode(content: bytes, where: str, max_pixels: int) -> Image.Image:
    _register_formats()
    image = Image.open(BytesIO(content), formats=FORMATS)
    _check_size(where, *image.size, max_pixels)
    image.load()
    return image


def file_pixels(picture: File | str, size: int, preprocess: Preprocess) -> np.ndarray:
    """Returns the preprocessed pixels of a picture file, uint8 [3, size, size]. Raises the errors of `open_rgb`."""
    return content_pixels(read_bytes(picture), str(picture), size, preprocess)


def content_pixels(
    content: bytes, where: str, size: int, preprocess: Preprocess, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Returns the preprocessed pixels of a file's bytes, uint8 [3, size, size].

    Arguments as in `decode_rgb` and `pixels`.

    Args:
        max_pixels: limit on width x height, checked before decoding.

    Raises:
        PictureError: not a picture in a known format, damaged, or too large.
    """
    return _decoded(content, where, max_pixels, lambda image: image_pixels(image, size, preprocess))


def image_pixels(image: Image.Image, size: int, preprocess: Preprocess) -> np.ndarray:
    """Returns the preprocessed pixels of a PIL image of any mode, uint8 [3, size, size].

    Raises:
        ValueError: floating-point pixels, if `preprocess.convert` is "first".
    """
    if preprocess.convert == "first":
        image = to_rgb(upright(image), preprocess.background, preprocess.color)
    return pixels(image, size, preprocess)


def pixels(image: Image.Image, size: int, preprocess: Preprocess) -> np.ndarray:
    """Pads, resizes and crops a picture to the square input of the image tower.

    Pads by `preprocess.pad`; bicubic resize of the short side to `size`, the long side to
    int(size * long / short); centre crop. Identical to torchvision's Resize(size, BICUBIC) and
    CenterCrop(size).

    Args:
        image: an RGB image (`open_rgb`); an image of another mode is converted to RGB after the crop.
        size: side of the result, in pixels.
        preprocess: padding mode and ratio.

    Returns:
        uint8 [3, size, size], not normalised.
    """
    if preprocess.pad == "target":
        image = target_pad(image, preprocess.ratio)
    elif preprocess.pad == "square":
        image = square_pad(image)
    cropped = _centre_crop(_resize_short_side(image, size), size)
    cropped.info.pop("transparency", None)  # ignored, as by torchvision; Pillow warns of some kinds
    return np.ascontiguousarray(np.asarray(cropped.convert("RGB")).transpose(2, 0, 1))


def target_pad(image: Image.Image, ratio: float) -> Image.Image:
    """Pads the short side with zeros so that long/short is at most about `ratio` (CLIP4Cir's TargetPad).

    A picture with long/short < ratio is returned unchanged. Otherwise each end of a side gets
    max(int((long / ratio - side) / 2), 0) zeros.
    """
    width, height = image.size
    if max(width, height) / min(width, height) < ratio:
        return image
    scaled = max(width, height) / ratio
    return _pad(image, max(int((scaled - width) / 2), 0), max(int((scaled - height) / 2), 0))


def square_pad(image: Image.Image) -> Image.Image:
    """Pads the short side with int((long - short) / 2) zeros at each end (CLIP4Cir's SquarePad)."""
    width, height = image.size
    longest = max(width, height)
    return _pad(image, int((longest - width) / 2), int((longest - height) / 2))


def _pad(image: Image.Image, horizontal: int, vertical: int) -> Image.Image:
    return ImageOps.expand(image, border=(horizontal, vertical), fill=0)


def _resize_short_side(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    longest = int(size * max(width, height) / min(width, height))
    target = (size, longest) if width <= height else (longest, size)
    return image.resize(target, Image.Resampling.BICUBIC)


def _centre_crop(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    # Python's round (half to even), as in torchvision
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def _check_size(where: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise PictureError(where, f"has {width:,} x {height:,} pixels, more than {max_pixels:,}")
    if max(width, height) > MAX_SIDE:
        raise PictureError(where, f"has {width:,} x {height:,} pixels, a side longer than {MAX_SIDE:,}")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise PictureError(where, f"has {width:,} x {height:,} pixels, one side over {MAX_RATIO} times the other")


def to_rgb(image: Image.Image, background: Background, color: Color) -> Image.Image:
    """Converts a decoded picture of any mode to 8-bit RGB, composited on `background` if it has transparency.

    Args:
        image: the picture.
        background: colour behind transparent pixels.
        color: "srgb" = convert by an embedded profile, "as-stored" = ignore it.

    Raises:
        ValueError: floating-point pixels, whose range is unknown.
    """
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    image = _eight_bits(image)
    if color == "srgb":
        image = to_srgb(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, background), layer).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    # some Pillow versions clip these to 8 bits: keep the high byte instead
    high = np.clip(np.asarray(image).astype(np.int64), 0, 0xFFFF) >> 8
    gray = Image.fromarray(high.astype(np.uint8))
    if "icc_profile" in image.info:
        gray.info["icc_profile"] = image.info["icc_profile"]
    return gray
