"""Picture files that Pillow refuses for something that their pixels do not need.

Metadata (text, XMP, thumbnails, a long colour profile, checksums of these) and a missing end marker are repaired in
the file's bytes. Missing or damaged pixel data is not: Pillow refuses the repaired file too.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_END_OF_IMAGE = b"\xff\xd9"
_COEFFICIENTS = 64
MAX_PROFILE = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Salvaged:
    """A repaired picture file.

    Attributes:
        variants: contents that all decode to the same pixels unless pixel data is missing.
        profile: the colour profile if the contents lack it, else b"".
    """

    variants: tuple[bytes, ...]
    profile: bytes = b""


def salvage(content: bytes) -> Salvaged | None:
    """Returns a PNG or JPEG file without metadata that its pixels do not need; None for other files."""
    try:
        if content.startswith(_PNG):
            return _png(content)
        if content.startswith(_JPEG):
            return _jpeg(content)
    except struct.error:  # the file ends within a header
        pass
    return None


def _png(content: bytes) -> Salvaged:
    """Keeps critical chunks, transparency and a sound EXIF chunk."""
    kept, profile = [_PNG], b""
    position = len(_PNG)
    while position < len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        chunk = content[position : position + length + 12]
        position += len(chunk)
        is_critical = not kind[0] & 0x20
        if is_critical or kind == b"tRNS" or (kind == b"eXIf" and _is_sound(chunk)):
            kept.append(chunk)
        elif kind == b"iCCP":
            profile = _profile(chunk[8:-4])
    return Salvaged((b"".join(kept),), profile)


def _is_sound(chunk: bytes) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def _profile(data: bytes) -> bytes:
    """Returns the profile in the data of an iCCP chunk: name, NUL, method, deflated bytes; b"" if it is broken."""
    deflated = data.partition(b"\0")[2][1:]
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(deflated, MAX_PROFILE)
    except zlib.error:
        return b""
    return profile if inflate.eof else b""


def _jpeg(content: bytes) -> Salvaged | None:
    """Keeps the segments that decoding, orientation and colour need, and adds a missing end marker."""
    kept, start = [_JPEG], None
    for marker, position, end in _segments(content, len(_JPEG)):
        if marker == 0xDA:
            start = position
            break
        if _is_needed(marker, content[position + 4 : end]):
            kept.append(content[position:end])
    if start is None:
        return None
    head, scans = b"".join(kept), content[start:]
    if _has_end(content, start):
        return Salvaged((head + scans,))
    if not _has_all_scans(content):
        return None
    scans = scans.removesuffix(b"\xff")  # half an end marker
    return Salvaged(tuple(head + scans + padding + _END_OF_IMAGE for padding in (b"", *_paddings())))


def _is_needed(marker: int, data: bytes) -> bool:
    """Whether a segment matters: all but comments and APPn, and JFIF, Exif, ICC and Adobe of these."""
    match marker:
        case 0xE0:
            return data.startswith(b"JFIF\0") and len(data) >= 14
        case 0xE1:
            return data.startswith(b"Exif\0\0")
        case 0xE2:
            return data.startswith(b"ICC_PROFILE\0") and len(data) > 14
        case 0xEE:
            return data.startswith(b"Adobe") and len(data) >= 12
    return not (marker == 0xFE or 0xE0 <= marker <= 0xEF)


def _segments(content: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """Yields (marker, start, end) of the segments with a length; skips pixel data, fill bytes and restart markers."""
    while (position := content.find(b"\xff", position)) >= 0 and position + 4 <= len(content):
        marker = content[position + 1]
        if marker == 0xD9:
            return
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            position += 2
        elif marker == 0xFF:
            position += 1
        else:
            (length,) = struct.unpack_from(">H", content, position + 2)
            yield marker, position, position + 2 + length
            position += 2 + length


def _has_end(content: bytes, start: int) -> bool:
    end = max((end for _, _, end in _segments(content, start)), default=start)
    return content.find(_END_OF_IMAGE, end) >= 0


def _has_all_scans(content: bytes) -> bool:
    """Whether each coefficient of each component has a scan with its last bit; progressive files have many scans."""
    components: set[int] = set()
    final: dict[int, set[int]] = {}
    for marker, position, end in _segments(content, len(_JPEG)):
        data = content[position + 4 : end]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            components = {data[6 + 3 * i] for i in range(data[5])} if len(data) >= 6 + 3 * data[5] else set()
        elif marker == 0xDA and data and len(data) == 4 + 2 * data[0]:
            first, last, bits = data[-3:]
            if bits & 15 == 0:
                for i in range(data[0]):
                    final.setdefault(data[1 + 2 * i], set()).update(range(first, last + 1))
    return bool(components) and all(len(final.get(component, ())) == _COEFFICIENTS for component in components)


def _paddings() -> Iterator[bytes]:
    """Yields bytes that a decoder skips, unless it still needs pixel data: then each gives other pixels.

    They have restart markers, after which a decoder expects more of it. A decoder that waits for another one than the
    first may skip all of them: hence two sequences.
    """
    noise = random.Random(0)
    for first in (0, 4):
        parts = (bytes([*noise.choices(range(255), k=64), 0xFF, 0xD0 + (first + i) % 8]) for i in range(16))
        yield b"".join(parts)
