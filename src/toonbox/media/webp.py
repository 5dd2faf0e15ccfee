"""WebP animations out of stills. Pillow packs the pixels, and reads with libwebp what is here.

Pillow's own writer merges frames that are equal, and loses the colours of what is transparent.
Source: RFC 9649.
"""

import struct
from collections.abc import Iterator

from toonbox.media.parts import Parts, in_steps

LONGEST = (1 << 24) - 1  # milliseconds
_ANIMATION, _ALPHA = 0x02, 0x10
_FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}
_NO_BLENDING = 0x02


def write(animation: Parts) -> bytes:
    """Put WebP stills together, at even places; metadata come from the first one."""
    flags, frames = _ANIMATION, list[bytes]()
    durations = in_steps([part.duration for part in animation.parts], 1)
    for part, duration in zip(animation.parts, durations, strict=True):
        found = dict(_chunks(part.still))
        width, height, alpha = _size(found)
        flags |= _ALPHA * alpha
        pixels = b"".join(
            _chunk(kind, found[kind]) for kind in (b"ALPH", b"VP8 ", b"VP8L") if kind in found
        )
        numbers = (part.left // 2, part.top // 2, width - 1, height - 1, min(duration, LONGEST))
        head = b"".join(number.to_bytes(3, "little") for number in numbers)
        frames.append(_chunk(b"ANMF", head + bytes([_NO_BLENDING]) + pixels))
    first = dict(_chunks(animation.parts[0].still))
    around = {kind: _chunk(kind, first[kind]) if kind in first else b"" for kind in _FLAGS}
    flags |= sum(flag for kind, flag in _FLAGS.items() if kind in first)
    canvas = b"".join((side - 1).to_bytes(3, "little") for side in animation.size)
    body = [
        b"WEBP",
        _chunk(b"VP8X", struct.pack("<I", flags) + canvas),
        around[b"ICCP"],
        _chunk(b"ANIM", struct.pack("<IH", 0, min(animation.plays, 65535))),
        *frames,
        around[b"EXIF"],
        around[b"XMP "],
    ]
    return _chunk(b"RIFF", b"".join(body))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at < len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _size(found: dict[bytes, bytes]) -> tuple[int, int, bool]:
    """Find out width, height, and whether there is alpha."""
    if b"VP8L" in found:
        bits = int.from_bytes(found[b"VP8L"][1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    width, height = struct.unpack_from("<2H", found[b"VP8 "], 6)
    return width & 0x3FFF, height & 0x3FFF, b"ALPH" in found
