"""Turns pictures upright by their EXIF orientation, tag 0x0112 of the first image file directory.

Only that tag is read, and EXIF is never rewritten: faults in other tags do not matter.
"""

from __future__ import annotations

from PIL import Image

_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Where Pillow finds an orientation, besides the tags of TIFF files.
_METADATA = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")


def upright(image: Image.Image) -> Image.Image:
    """Returns a decoded picture turned by its orientation, or the picture itself if it is upright or says nothing."""
    turn = _TURNS.get(_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    for name in _METADATA:  # the result is upright
        turned.info.pop(name, None)
    return turned


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_TAG)
    except Exception:  # broken EXIF makes Pillow raise nearly anything
        return 1
    return value if isinstance(value, int) else 1
