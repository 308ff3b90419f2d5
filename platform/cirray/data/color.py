"""Colour management: pictures with an embedded ICC profile to sRGB."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageCms

# Colour space of a profile -> the mode that its pixels are converted in, and the modes of pictures that it describes.
_SPACES: dict[str, tuple[str, frozenset[str]]] = {
    "RGB ": ("RGB", frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr"})),
    "GRAY": ("L", frozenset({"1", "L", "LA"})),
    "CMYK": ("CMYK", frozenset({"CMYK"})),
}
# What Pillow raises for a profile that LittleCMS cannot use.
_UNUSABLE = (ImageCms.PyCMSError, OSError, TypeError, ValueError)
_LIGHT, _DARK = 192, 96


def to_srgb(image: Image.Image) -> Image.Image:
    """Converts a picture of 8 bits a channel by its embedded profile to sRGB: RGB, or RGBA if it has transparency.

    A picture is returned as it is if it has no profile, or one that is broken, of another colour space than the
    pixels, or absurd: one that does not show white as light and black as dark.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        mode, described = _SPACES.get(source.profile.xcolor_space, ("", frozenset()))
        if image.mode not in described:
            return image
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        transform = ImageCms.ImageCmsTransform(source, srgb, mode, "RGB")
        if not _is_plausible(transform, mode):
            return image
        converted = transform.apply(image.convert(mode))
    except _UNUSABLE:
        return image
    if image.has_transparency_data:
        converted.putalpha(image.convert("RGBA").getchannel("A"))
    converted.info.pop("icc_profile", None)
    return converted


def _is_plausible(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    white, black = (0, 255) if mode == "CMYK" else (255, 0)
    channels = len(Image.new(mode, (1, 1)).getbands())
    light, dark = (
        transform.apply(Image.new(mode, (1, 1), (value,) * channels if channels > 1 else value)).convert("L")
        for value in (white, black)
    )
    return light.getpixel((0, 0)) >= _LIGHT and dark.getpixel((0, 0)) <= _DARK  # type: ignore[operator]
