"""IPTC records, which every format keeps at another place."""

import struct
from typing import Any

from PIL import Image

TIFF_TAG = 33723
PNG_TEXT = "Raw profile type iptc"
_RESOURCE = 0x0404  # of Photoshop's, in JPEG
_JPEG_HEAD = b"Photoshop 3.0\0"


def iptc_of(image: Image.Image) -> bytes | None:
    """Find the records of a JPEG, TIFF or PNG; None if there are none."""
    resources = image.info.get("photoshop")
    if isinstance(resources, dict) and isinstance(resources.get(_RESOURCE), bytes):
        return resources[_RESOURCE] or None
    # As they stand in the file: many programs say that they are numbers, which Pillow believes.
    raw: Any = getattr(getattr(image, "tag_v2", None), "_tagdata", {})
    if raw.get(TIFF_TAG):
        return bytes(raw[TIFF_TAG])
    text = image.info.get(PNG_TEXT)
    return _from_png_text(text) if isinstance(text, str) else None


def resources(records: bytes | None) -> dict[int, bytes] | None:
    """Give what `iptc_of` looks for in the info of a Pillow image."""
    return {_RESOURCE: records} if records else None


def jpeg_segment(records: bytes) -> bytes:
    """Write the segment of a JPEG that holds them; its length is modulo 65536."""
    padded = records + bytes(len(records) % 2)
    resource = b"8BIM" + struct.pack(">HHI", _RESOURCE, 0, len(records)) + padded
    body = _JPEG_HEAD + resource
    return b"\xff\xed" + struct.pack(">H", (len(body) + 2) % 65536) + body


def png_text(records: bytes) -> str:
    """Write the text that ImageMagick and exiftool know in PNG."""
    resource = b"8BIM" + struct.pack(">HHI", _RESOURCE, 0, len(records)) + records
    digits = (resource + bytes(len(records) % 2)).hex()
    lines = "\n".join(digits[start : start + 72] for start in range(0, len(digits), 72))
    return f"\niptc\n{len(digits) // 2:8}\n{lines}\n"


def _from_png_text(text: str) -> bytes | None:
    try:
        data = bytes.fromhex("".join(text.strip().splitlines()[2:]))
    except ValueError:
        return None
    return _from_resources(data) if data.startswith(b"8BIM") else data or None


def _from_resources(data: bytes) -> bytes | None:
    """Find the records among Photoshop's resources: names and values are padded to even lengths."""
    while data[:4] == b"8BIM" and len(data) >= 12:
        start = 6 + (data[6] + 2) // 2 * 2
        kind, length = int.from_bytes(data[4:6]), int.from_bytes(data[start : start + 4])
        value = data[start + 4 : start + 4 + length]
        if kind == _RESOURCE:
            return value or None
        data = data[start + 4 + length + length % 2 :]
    return None
