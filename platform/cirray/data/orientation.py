"""Turns pictures upright by their EXIF orientation, tag 0x0112 of the first image file directory.

Only that tag is read, and EXIF is never rewritten: faults in other tags do not matter.
"""

from __future__ import annotations

import struct

from PIL import Image

_TAG = 0x0112
_SHORT = 3
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
    except Exception:  # Pillow reads every tag before this one, and raises nearly anything for broken ones
        value = None
    if not isinstance(value, int):
        value = exif_orientation(image.info.get("exif"))
    return value


def exif_orientation(exif: object) -> int:
    """Returns the orientation in the bytes of an EXIF block, with or without its "Exif" header; 1 if there is none."""
    if not isinstance(exif, bytes):
        return 1
    block = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", block, start + 2 + 12 * entry)
            if (tag, kind) == (_TAG, _SHORT):
                return int(value)
    except struct.error:  # the block ends before the tag
        pass
    return 1
