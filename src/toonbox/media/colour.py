"""Colours of any profile into sRGB."""

import functools
import io
import logging
import struct

import numpy as np
from PIL import Image, ImageCms

_logger = logging.getLogger(__name__)


def to_srgb(
    image: Image.Image, profile: bytes | None, name: str
) -> tuple[Image.Image, bytes | None]:
    """Convert colours to sRGB.

    Args:
        image: mode L, RGB or CMYK.
        profile: the ICC profile its values mean, None for the usual one of its mode.
        name: what messages call the picture.
    Returns:
        The picture in mode RGB, and an sRGB profile to write with it; None if it came with none or
        with one that cannot be used, which is logged.
    """
    if not profile:
        return image.convert("RGB"), None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if image.mode == "L" and source.profile.xcolor_space.strip() == "RGB":
            image = image.convert("RGB")
        transform = ImageCms.buildTransform(source, _srgb(), image.mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        _logger.warning("%s: its colour profile cannot be used and is left out", name)
        return image.convert("RGB"), None
    if image.mode == "RGB" and _changes_nothing(transform):
        return image, profile
    return transform.apply(image), _srgb_bytes()


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Tell sRGB by what it does, since it has many names; steps of 2 are rounding."""
    levels = np.arange(0, 256, 51, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    changed = np.asarray(transform.apply(Image.fromarray(colours)))
    return int(np.abs(changed.astype(int) - colours).max()) <= 2


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@functools.cache
def _srgb_bytes() -> bytes:
    data = _srgb().tobytes()
    # LittleCMS stamps the time of day; equal pictures should give equal files.
    return data[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + data[36:]
