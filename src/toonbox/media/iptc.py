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
    tags: Any = getattr(image, "tag_v2", {})
    if TIFF_TAG in tags:
        return _tag_bytes(tags[TIFF_TAG], tags.tagtype.get(TIFF_TAG))
    text = image.info.get(PNG_TEXT)
    return _from_png_text(text) if isinstance(text, str) else None


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


def _tag_bytes(value: Any, kind: int | None) -> bytes | None:
    if isinstance(value, bytes):
        return value or None
    if isinstance(value, tuple) and kind == 4:  # whole numbers of four bytes, a mistake of old
        return struct.pack(f"<{len(value)}I", *value)
    return None


def _from_png_text(text: str) -> bytes | None:
    try:
        data = bytes.fromhex("".join(text.split()[2:]))
    except ValueError:
        return None
    if not data.startswith(b"8BIM"):
        return data or None
    kind, name, length = struct.unpack_from(">HHI", data, 4) if len(data) >= 12 else (0, 0, 0)
    return data[12 : 12 + length] if (kind, name) == (_RESOURCE, 0) and length else None
