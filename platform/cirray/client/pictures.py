"""Pictures that the clients send: a path, the bytes of a file, or a PIL image."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

from PIL import Image

from cirray.data.orientation import upright
from cirray.errors import DataError

Picture = str | os.PathLike[str] | bytes | Image.Image
_PNG_MODES = ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")


def picture_file(picture: Picture) -> tuple[str, bytes]:
    """Returns name and bytes of a picture file. A PIL image becomes a PNG, rotated to its EXIF orientation.

    Raises:
        DataError: the file cannot be read.
    """
    if isinstance(picture, bytes):
        return "picture", picture
    if isinstance(picture, Image.Image):
        turned = upright(picture)
        content = BytesIO()
        (turned if turned.mode in _PNG_MODES else turned.convert("RGB")).save(content, "PNG")
        return "picture.png", content.getvalue()
    path = Path(picture)
    try:
        return path.name, path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
