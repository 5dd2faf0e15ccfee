"""APNG animations: their chunks into stills, and stills into chunks. Pillow packs the pixels.

Pillow's own writer merges frames that are equal, and takes the whole animation into memory.
Source: the PNG specification, third edition.
"""

import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

from toonbox.media.parts import Part, Parts
from toonbox.media.png import SIGNATURE, chunk, chunks

_CONTROL = ">4I2H2B"  # width, height, left, top, delay as a fraction of a second, then, over
_HIDDEN = "its picture for viewers that show no animations is left out; they see the first frame"
_THEN: tuple[Literal["stay", "clear", "restore"], ...] = ("stay", "clear", "restore")


def read(data: bytes, check: Callable[[int], None] = lambda count: None) -> Parts:
    """Take an APNG apart.

    Args:
        data: the file.
        check: called with the number of frames that it has; may raise if that is too many.
    Raises:
        EOFError, ValueError: it is cut off or damaged.
        struct.error, LookupError: the same.
    """
    head, palette, plays, announced, number, remark = b"", b"", 0, 0, 0, ""
    controls: list[bytes] = []
    pixels: list[list[bytes]] = []
    for kind, content in chunks(data):
        if kind in (b"fcTL", b"fdAT"):
            if struct.unpack_from(">I", content)[0] != number:
                raise ValueError("frames out of order")
            number, content = number + 1, content[4:]
        match kind:
            case b"IHDR":
                head = content
            case b"PLTE" | b"tRNS":
                palette += chunk(kind, content)
            case b"acTL":
                announced, plays = struct.unpack(">2I", content)
                check(announced)
            case b"fcTL" if len(controls) == announced:
                raise ValueError(f"more than the {announced} frames it announces")
            case b"fcTL":
                controls.append(content)
                pixels.append([])
            case b"IDAT" | b"fdAT" if pixels:
                pixels[-1].append(content)
            case b"IDAT":
                remark = _HIDDEN
    if len(controls) != announced:
        raise ValueError(f"{len(controls)} frames instead of {announced}")
    size = struct.unpack_from(">2I", head)
    frames = zip(controls, pixels, strict=True)
    parts = [_part(size, head, palette, *frame) for frame in frames]
    return Parts(size, plays, parts, remark)


def still(data: bytes) -> bytes:
    """Leave out all that makes a PNG an animation."""
    kept = [
        chunk(kind, content)
        for kind, content in chunks(data)
        if kind not in (b"acTL", b"fcTL", b"fdAT")
    ]
    return SIGNATURE + b"".join(kept)


def write(animation: Parts) -> bytes:
    """Put PNG stills of one kind of pixels together; metadata come from the first one."""
    number, before, frames, after = 0, b"", list[bytes](), b""
    for index, part in enumerate(animation.parts):
        pixels = list[bytes]()
        for kind, content in chunks(part.still):
            if kind == b"IDAT":
                pixels.append(content)
            elif kind == b"IHDR":
                (width, height), rest = struct.unpack_from(">2I", content), content[8:]
                if index == 0:
                    size = struct.pack(">2I", *animation.size)
                    acts = struct.pack(">2I", len(animation.parts), animation.plays)
                    before = chunk(kind, size + rest) + chunk(b"acTL", acts)
            elif index == 0 and pixels:
                after += chunk(kind, content)
            elif index == 0:
                before += chunk(kind, content)
        control = struct.pack(
            _CONTROL,
            *(width, height, part.left, part.top),
            *_delay(part.duration),
            *(_THEN.index(part.then), part.over),
        )
        frames.append(chunk(b"fcTL", struct.pack(">I", number) + control))
        number += 1
        for content in pixels:
            if index == 0:
                frames.append(chunk(b"IDAT", content))
            else:
                frames.append(chunk(b"fdAT", struct.pack(">I", number) + content))
                number += 1
    return b"".join([SIGNATURE, before, *frames, after])


def _part(
    size: tuple[int, int], head: bytes, palette: bytes, control: bytes, pixels: list[bytes]
) -> Part:
    width, height, left, top, delay, of, then, over = struct.unpack(_CONTROL, control)
    if left + width > size[0] or top + height > size[1]:
        raise ValueError("a frame reaches beyond the canvas")
    header = chunk(b"IHDR", struct.pack(">2I", width, height) + head[8:])
    data = chunk(b"IDAT", b"".join(pixels))
    file = SIGNATURE + header + palette + data + chunk(b"IEND", b"")
    duration = Fraction(delay * 1000, of or 100)
    return Part(file, left, top, duration, bool(over), _THEN[then])


def _delay(duration: Fraction) -> tuple[int, int]:
    """Give a fraction of a second; both numbers have 16 bits."""
    seconds = min(duration / 1000, Fraction(65535))
    if max(seconds.as_integer_ratio()) > 65535:
        seconds = seconds.limit_denominator(65535 // (int(seconds) + 1))
    return seconds.as_integer_ratio()
