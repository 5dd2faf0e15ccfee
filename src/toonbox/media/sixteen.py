"""Pictures of 16 bits, which Pillow reads as 8 and does not write.

Pillow's readers keep the upper byte of each value, or the lower one if they are told that the file
has the other byte order: two readings give all 16 bits, of every PNG and TIFF that Pillow knows.
Both formats are written here, uncompressed or by zlib, with the metadata as Pillow writes them: a
library for the values alone would leave us to put EXIF, XMP and profiles around them all the same.
"""

import io
import struct
import sys
import zlib
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from PIL.TiffTags import TAGS_V2_GROUPS

from toonbox.media.png import SIGNATURE, chunk, chunks
from toonbox.pixels import Uint16Array

_ORDERS = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_PNG_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_STRIP_BYTES = 1 << 22


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


def write_png(values: Uint16Array, model: bytes) -> bytes:
    """Write a PNG.

    Args:
        values: (H, W, C): grey, grey and alpha, RGB or RGBA.
        model: any PNG, whose metadata are taken over.
    """
    parts = [SIGNATURE]
    done = False
    for kind, data in chunks(model):
        if kind == b"IHDR":
            height, width, channels = values.shape
            colour_type = _PNG_COLOUR_TYPES[channels]
            data = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
        elif kind == b"IDAT":
            if done:
                continue
            done, data = True, _png_data(values)
        parts.append(chunk(kind, data))
    return b"".join(parts)


def write_tiff(
    values: Uint16Array,
    exif: Image.Exif,
    profile: bytes | None,
    dpi: tuple[float, float] | None,
) -> bytes:
    """Write a TIFF in one strip, without compression.

    Args:
        values: (H, W, C), as for PNG.
        exif: tags and folders to take over.
        profile: ICC.
        dpi: pixels per inch.
    """
    height, width, channels = values.shape
    tags = ImageFileDirectory_v2(prefix=b"II")
    for tag in exif:
        tags[tag] = exif.get_ifd(tag) if tag in TAGS_V2_GROUPS else exif[tag]
    data = values.astype("<u2").tobytes()
    tags[256], tags[257], tags[258] = width, height, (16,) * channels
    tags[259], tags[262] = 1, 2 if channels > 2 else 1
    tags.tagtype[273] = tags.tagtype[279] = 4
    tags[273], tags[277], tags[278], tags[279] = 0, channels, height, len(data)
    tags[284] = 1
    if channels in (2, 4):
        tags[338] = 2  # straight alpha
    if profile:
        tags[34675] = profile
    if dpi:
        tags[282], tags[283], tags[296] = dpi[0], dpi[1], 2
    buffer = io.BytesIO()
    tags.save(buffer)
    return buffer.getvalue() + data


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


def _png_data(values: Uint16Array) -> bytes:
    """Compress, each row as its difference from the one above: that suits smooth pictures."""
    height, width, channels = values.shape
    deflate = zlib.compressobj(6)
    parts = []
    above = np.zeros((1, width * channels * 2), np.uint8)
    step = max(1, _STRIP_BYTES // above.shape[1])
    for top in range(0, height, step):
        rows = values[top : top + step].astype(">u2").reshape(-1, width * channels).view(np.uint8)
        filtered = np.full((len(rows), rows.shape[1] + 1), 2, np.uint8)
        filtered[:, 1:] = np.diff(rows, axis=0, prepend=above)
        parts.append(deflate.compress(filtered.tobytes()))
        above = rows[-1:]
    return b"".join([*parts, deflate.flush()])
