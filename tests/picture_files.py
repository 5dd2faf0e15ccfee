"""Pictures for tests, as files and as arrays."""

import io
import struct
import zlib

import numpy as np


def file_of(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def without_palette():
    """Make a PNG of palette colours whose palette is missing; Pillow asserts that it is there."""
    rows = zlib.compress(b"\0\0\1" * 2)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 3, 0, 0, 0)),
        (b"IDAT", rows),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


class OddError(Exception):
    """What nobody foresees."""


def smooth(height=48, width=64):
    """Make a picture that lossy formats keep nearly as it is."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 3, y * 4, 255 - x * 2], axis=-1).astype(np.uint8)
