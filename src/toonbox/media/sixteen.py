"""Pictures of 16 bits, which Pillow reads as 8 (`strips` writes them).

Pillow's readers keep the upper byte of each value, or the lower one if they are told that the file
has the other byte order: two readings give all 16 bits, of every PNG and TIFF that Pillow knows.
"""

import sys
from typing import Any

import numpy as np
from PIL import Image

from toonbox.pixels import Uint16Array

_ORDERS = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def raw_mode(image: Image.Image) -> str:
    """Name the arrangement of bytes that the reader of a file will expect; "" if unknown."""
    tiles: Any = getattr(image, "tile", None)
    if not tiles:
        return ""
    args = tiles[0][3]
    mode = args[0] if isinstance(args, tuple) and args else args
    return mode if isinstance(mode, str) else ""


def has_sixteen_bits(mode: str) -> bool:
    """Tell whether `read_low_bytes` can read what lies in such an arrangement."""
    kind, _, order = mode.partition(";16")
    return (kind in ("RGB", "RGBX", "RGBA") and order in _ORDERS) or mode == "LA;16B"


def expect_low_bytes(image: Image.Image) -> None:
    """Make Pillow read the lower bytes of a file just opened; `has_sixteen_bits` has been asked."""
    tiles: Any = image
    tiles.tile = [tile._replace(args=_low_arguments(tile.args)) for tile in tiles.tile]


def joined(high: Image.Image, low: Image.Image, mode: str) -> Uint16Array:
    """Put upper and lower bytes together: (H, W, 3) or (H, W, 4) of 16 bits."""
    if mode == "LA;16B":  # read as four bytes
        grey_high, grey_low, alpha_high, alpha_low = np.moveaxis(np.asarray(low), -1, 0)
        grey, alpha = _sixteen(grey_high, grey_low), _sixteen(alpha_high, alpha_low)
        return np.stack([grey, grey, grey, alpha], axis=-1)
    return _sixteen(np.asarray(high), np.asarray(low))


def _low_arguments(arguments: Any) -> Any:
    if isinstance(arguments, tuple):
        return (_low_mode(arguments[0]), *arguments[1:])
    return _low_mode(arguments)


def _low_mode(mode: str) -> str:
    if mode == "LA;16B":
        return "RGBA"
    return mode[:-1] + _ORDERS[mode[-1]]


def _sixteen(high: Any, low: Any) -> Uint16Array:
    values: Uint16Array = high.astype(np.uint16)
    values <<= 8
    values |= low
    return values
