"""PNGs of 16 bits, which Pillow reads as 8 (`strips` writes them, `tiff` reads such TIFFs).

Pillow's reader keeps the upper byte of each value, or the lower one if it is told that the file has
the other byte order: two readings give all 16 bits.
"""

from typing import Any

import numpy as np
from PIL import Image

from toonbox.pixels import Uint16Array

# Arrangements of bytes, and those by which the lower ones are read.
_LOW_MODES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}


def raw_mode(image: Image.Image) -> str:
    """Name the arrangement of bytes that the reader of a file will expect; "" if unknown."""
    tiles: Any = getattr(image, "tile", None)
    if not tiles:
        return ""
    mode = tiles[0].args
    return mode if isinstance(mode, str) else ""


def has_sixteen_bits(mode: str) -> bool:
    """Tell whether `expect_low_bytes` can read what lies in such an arrangement."""
    return mode in _LOW_MODES


def expect_low_bytes(image: Image.Image) -> None:
    """Make Pillow read the lower bytes of a file just opened; `has_sixteen_bits` has been asked."""
    tiles: Any = image
    tiles.tile = [tile._replace(args=_LOW_MODES[tile.args]) for tile in tiles.tile]


def joined(high: Image.Image, low: Image.Image, mode: str) -> Uint16Array:
    """Put upper and lower bytes together: (H, W, 3) or (H, W, 4) of 16 bits."""
    if mode == "LA;16B":  # read as four bytes
        grey_high, grey_low, alpha_high, alpha_low = np.moveaxis(np.asarray(low), -1, 0)
        grey, alpha = _sixteen(grey_high, grey_low), _sixteen(alpha_high, alpha_low)
        return np.stack([grey, grey, grey, alpha], axis=-1)
    return _sixteen(np.asarray(high), np.asarray(low))


def _sixteen(high: Any, low: Any) -> Uint16Array:
    values: Uint16Array = high.astype(np.uint16)
    values <<= 8
    values |= low
    return values
