"""How often an AVIF animation is shown, which Pillow neither reads nor writes.

The movie and each track have a duration, that of all repetitions or endless; the edit list of a
track has that of one, and a flag for being repeated. Source: ISO/IEC 14496-12, as libavif reads it.
"""

import struct
from collections.abc import Iterator

from toonbox.media.parts import FOREVER

_HOLDERS = (b"moov", b"trak", b"edts")
_ENDLESS = (1 << 32) - 1, (1 << 64) - 1
# Where the duration stands behind the head of a box, in its versions 0 and 1.
_DURATIONS = {b"mvhd": (16, 24), b"tkhd": (20, 28), b"elst": (8, 8)}


def plays(data: bytes) -> int:
    """Tell how often an animation is shown; FOREVER if it does not say.

    Raises:
        struct.error: the file is damaged.
    """
    track = 0
    for kind, at in _boxes(data, 0, len(data)):
        if kind == b"tkhd":
            track = _duration(data, kind, at)
        if kind == b"elst":
            once = _duration(data, kind, at)
            if not data[at + 3] & 1:
                return 1
            return FOREVER if track in _ENDLESS or not once else -(-track // once)
    return FOREVER


def with_plays(data: bytes, plays: int) -> bytes:
    """Have an animation that libavif wrote shown so often."""
    changed, once = bytearray(data), 0
    boxes = [(kind, at) for kind, at in _boxes(data, 0, len(data)) if kind in _DURATIONS]
    for kind, at in boxes:
        if kind == b"elst":
            once = _duration(data, kind, at)
            changed[at + 3] = plays != 1
    total = _ENDLESS[1] if plays == FOREVER else once * plays
    for kind, at in boxes:
        if kind != b"elst":
            struct.pack_into(">Q", changed, at + _DURATIONS[kind][1], total)
    return bytes(changed)


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Find boxes and those within: kind, and where the content begins."""
    while at + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1:
            (length,), start = struct.unpack_from(">Q", data, start), start + 8
        last = end if length == 0 else min(end, at + length)
        if last < start:
            return
        yield kind, start
        if kind in _HOLDERS:
            yield from _boxes(data, start, last)
        at = last


def _duration(data: bytes, kind: bytes, at: int) -> int:
    version = data[at]
    form, place = (">Q", 1) if version else (">I", 0)
    (duration,) = struct.unpack_from(form, data, at + _DURATIONS[kind][place])
    return int(duration)
