"""The cartoons of an animation's frames into one file again."""

import io
import logging
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from toonbox.errors import OutputError, PictureError, TooLargeError
from toonbox.images.encode import (
    PATTERN,
    QUALITY,
    Palette,
    check_quality,
    choose_palette,
    encode,
    image_of,
    save_options,
    written_rgb,
)
from toonbox.images.formats import check_lossless
from toonbox.images.metadata import Metadata, read_metadata
from toonbox.images.picture import (
    DAMAGE,
    Picture,
    decode,
    is_animated,
    load,
    open_image,
    open_stream,
    reason,
    without_metadata,
)
from toonbox.images.streaming import SIGNATURE, chunk, chunks
from toonbox.options import MAX_PIXELS
from toonbox.pixels import PhotoArray

FOREVER = 0  # of `Parts.plays`


@dataclass(frozen=True)
class Part:
    """A still, a file of its own, and how it gets onto the canvas.

    Attributes:
        still: what is in the file.
        left, top: its place, in pixels.
        duration: milliseconds until the next one.
        over: it is laid over what is there by its alpha; otherwise it takes the place of that.
        then: what becomes of its place before the next part: it stays, becomes transparent, or
            what was there before comes back.
    """

    still: bytes
    left: int
    top: int
    duration: Fraction
    over: bool = False
    then: Literal["stay", "clear", "restore"] = "stay"


@dataclass(frozen=True)
class Parts:
    """A whole animation.

    Attributes:
        size: width and height of the canvas.
        plays: how often it is shown, FOREVER or a number.
        parts: one for each frame.
        remark: what a person should know about the file; "" for nothing.
    """

    size: tuple[int, int]
    plays: int
    parts: Sequence[Part]
    remark: str = ""


def composited(animation: Parts, name: str) -> Iterator[Image.Image]:
    """Show the canvas, RGBA, at the time of each frame; it begins transparent.

    Errors are those of `opening.open_image`; `name` is what its messages call the file.

    Pillow would do this for GIF and APNG, but it takes a GIF's disposal of 0 for the one before,
    clears to an opaque colour where all browsers clear to nothing, and blends alpha in APNG as
    if it were a colour (seen in 13.0).
    """
    canvas, (width, height) = Image.new("RGBA", animation.size), animation.size
    for part in animation.parts:
        opened = open_image(io.BytesIO(part.still), name, width * height)
        still = opened.convert("RGBA")
        place = (part.left, part.top)
        before = canvas.copy() if part.then == "restore" else None
        if part.over:
            canvas.alpha_composite(still, place)
        else:
            canvas.paste(still, place)
        yield canvas.copy()
        if before is not None:
            canvas = before
        elif part.then == "clear":
            canvas.paste((0, 0, 0, 0), (*place, place[0] + still.width, place[1] + still.height))


def in_steps(durations: Sequence[Fraction], step: Fraction | int) -> list[int]:
    """Round durations to a format's steps so that the times of the frames do not drift.

    Args:
        durations: milliseconds.
        step: milliseconds in one of the format's units.
    """
    times = [round(time / step) for time in accumulate(durations, initial=Fraction(0))]
    return [later - earlier for earlier, later in pairwise(times)]


_CONTROL = ">4I2H2B"  # width, height, left, top, delay as a fraction of a second, then, over
_HIDDEN = "its picture for viewers that show no animations is left out; they see the first frame"
_APNG_THEN: tuple[Literal["stay", "clear", "restore"], ...] = ("stay", "clear", "restore")


def read_apng(data: bytes, check: Callable[[int], None] = lambda count: None) -> Parts:
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


def write_apng(animation: Parts) -> bytes:
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
            *(_APNG_THEN.index(part.then), part.over),
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
    return Part(file, left, top, duration, bool(over), _APNG_THEN[then])


def _delay(duration: Fraction) -> tuple[int, int]:
    """Give a fraction of a second; both numbers have 16 bits."""
    seconds = min(duration / 1000, Fraction(65535))
    if max(seconds.as_integer_ratio()) > 65535:
        seconds = seconds.limit_denominator(65535 // (int(seconds) + 1))
    return seconds.as_integer_ratio()


_HOLDERS = (b"moov", b"trak", b"edts")
_ENDLESS = (1 << 32) - 1, (1 << 64) - 1
# Where the duration stands behind the head of a box, in its versions 0 and 1.
_DURATIONS = {b"mvhd": (16, 24), b"tkhd": (20, 28), b"elst": (8, 8)}


def avif_plays(data: bytes) -> int:
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


def with_plays(data: bytes, avif_plays: int) -> bytes:
    """Have an animation that libavif wrote shown so often."""
    changed, once = bytearray(data), 0
    boxes = [(kind, at) for kind, at in _boxes(data, 0, len(data)) if kind in _DURATIONS]
    for kind, at in boxes:
        if kind == b"elst":
            once = _duration(data, kind, at)
            changed[at + 3] = avif_plays != 1
    total = _ENDLESS[1] if avif_plays == FOREVER else once * avif_plays
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


STEP = 10  # milliseconds in a GIF's unit of time
GIF_LONGEST = 65535
_BEGINNINGS = (b"GIF87a", b"GIF89a")
_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_GIF_CONTROL, _COMMENT, _APPLICATION = 0xF9, 0xFE, 0xFF
_GIF_THEN: dict[int, Literal["stay", "clear", "restore"]] = {2: "clear", 3: "restore"}


@dataclass(frozen=True)
class _Frame:
    """An image as it stands in the file; `table` is its palette, its own or the global one."""

    left: int
    top: int
    width: int
    height: int
    interlaced: bool
    table: bytes
    packed: bytes
    control: tuple[int, int, int] = (0, 0, 0)  # flags, hundredths of a second, transparent index

    def blocks(self) -> bytes:
        """Give its blocks, with a palette of its own."""
        flags = self.interlaced << 6
        if self.table:
            flags |= 0x80 | (len(self.table) // 3 - 1).bit_length() - 1
        place = struct.pack("<4HB", self.left, self.top, self.width, self.height, flags)
        control = struct.pack("<BHBB", *self.control, 0)
        return b"!\xf9\x04" + control + b"," + place + self.table + self.packed


@dataclass
class _Blocks:
    """The head of a GIF, and its blocks one by one."""

    data: bytes
    at: int = 0
    loops: int | None = None
    comments: bytes = b""
    ended: bool = False
    followed: bool = False  # by another GIF

    def take(self, count: int) -> bytes:
        """Read so many bytes.

        Raises:
            EOFError: there are not as many.
        """
        taken = self.data[self.at : self.at + count]
        if len(taken) < count:
            raise EOFError("truncated GIF")
        self.at += count
        return taken

    def sub_blocks(self) -> list[bytes]:
        """Read the contents of a block, up to its end."""
        blocks = []
        while length := self.take(1)[0]:
            blocks.append(self.take(length))
        return blocks

    def table(self, flags: int) -> bytes:
        """Read the palette that flags announce."""
        return self.take(6 << (flags & 7)) if flags & 0x80 else b""

    def frames(self) -> Iterator[_Frame]:
        """Read all images, and note loops and comments on the way.

        Raises:
            EOFError: the file is cut off.
            ValueError: what is there is no block.
        """
        common, control = self._screen(), (0, 0, 0)
        while self.at < len(self.data):
            match self.take(1)[0]:
                case 0x3B:  # ;
                    self.ended, self.followed = True, self.data.startswith(_BEGINNINGS, self.at)
                    return
                case 0x47 if self.data.startswith(_BEGINNINGS, self.at - 1):  # G, of another GIF
                    self.at -= 1
                    common, control = self._screen(), (0, 0, 0)
                case 0x2C:  # ,
                    yield replace(self._image(common), control=control)
                    control = (0, 0, 0)
                case 0x21:  # !
                    control = self._extension() or control
                case 0:  # some writers leave such between blocks
                    pass
                case other:
                    raise ValueError(f"no GIF block begins with {other}")

    def _screen(self) -> bytes:
        """Read the head of a GIF; give its palette."""
        flags = self.take(13)[10]
        return self.table(flags)

    def _image(self, common: bytes) -> _Frame:
        left, top, width, height, flags = struct.unpack("<4HB", self.take(9))
        table = self.table(flags) or common
        start = self.at
        self.take(1)
        self.sub_blocks()
        packed = self.data[start : self.at]
        return _Frame(left, top, width, height, bool(flags & 0x40), table, packed)

    def _extension(self) -> tuple[int, int, int] | None:
        label, start = self.take(1)[0], self.at
        blocks = self.sub_blocks()
        if label == _GIF_CONTROL and blocks and len(blocks[0]) >= 4:
            flags, delay, transparent = struct.unpack("<BHB", blocks[0][:4])
            return flags, delay, transparent
        if label == _COMMENT:
            self.comments += b"!\xfe" + self.data[start : self.at]
        loops = label == _APPLICATION and len(blocks) > 1 and blocks[0] in _LOOPS
        if loops and blocks[1][0] & 7 == 1 and len(blocks[1]) >= 3:
            self.loops = int.from_bytes(blocks[1][1:3], "little")
        return None


def read_gif(data: bytes, check: Callable[[int], None] = lambda count: None) -> Parts:
    """Take a GIF apart.

    Args:
        data: the file.
        check: called with the number of frames so far, after each; may raise if that is too many.
    Raises:
        EOFError, ValueError: it is cut off or damaged.
    """
    blocks = _Blocks(data)
    frames = []
    for frame in blocks.frames():
        frames.append(frame)
        check(len(frames))
    width, height = struct.unpack("<2H", data[6:10])
    # Some say too little, or nothing.
    width = max(width, *(frame.left + frame.width for frame in frames))
    height = max(height, *(frame.top + frame.height for frame in frames))
    parts = []
    for frame in frames:
        flags, delay, transparent = frame.control
        still = replace(frame, left=0, top=0, control=(flags & 1, 0, transparent))
        file = b"GIF89a" + struct.pack("<2H3B", frame.width, frame.height, 0, 0, 0)
        file += still.blocks() + b";"
        then = _GIF_THEN.get(flags >> 2 & 7, "stay")
        parts.append(Part(file, frame.left, frame.top, Fraction(delay * STEP), True, then))
    plays = 1 if blocks.loops is None else blocks.loops + 1 if blocks.loops else FOREVER
    remark = "" if blocks.ended else "has no mark at its end; perhaps frames are missing"
    remark = "is followed by another GIF, which is left out" if blocks.followed else remark
    return Parts((width, height), plays, parts, remark)


def write_gif(animation: Parts) -> bytes:
    """Put GIF stills together; comments come from the first one."""
    delays = in_steps([part.duration for part in animation.parts], STEP)
    body = []
    comments = b""
    for part, delay in zip(animation.parts, delays, strict=True):
        blocks = _Blocks(part.still)
        (frame,) = blocks.frames()
        comments = comments or blocks.comments
        flags, _, transparent = frame.control
        flags = flags & 1 | {"stay": 1, "clear": 2, "restore": 3}[part.then] << 2
        control = (flags, min(delay, GIF_LONGEST), transparent)
        body.append(replace(frame, left=part.left, top=part.top, control=control).blocks())
    head = b"GIF89a" + struct.pack("<2H3B", *animation.size, 0, 0, 0)
    if animation.plays != 1:
        again = max(0, min(animation.plays - 1, 65535))
        head += b"!\xff\x0b" + _LOOPS[0] + struct.pack("<BBHB", 3, 1, again, 0)
    return b"".join([head, comments, *body, b";"])


WEBP_LONGEST = (1 << 24) - 1  # milliseconds
_ANIMATION, _ALPHA = 0x02, 0x10
_FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}
_NO_BLENDING = 0x02


def write_webp(animation: Parts) -> bytes:
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
        numbers = (
            part.left // 2,
            part.top // 2,
            width - 1,
            height - 1,
            min(duration, WEBP_LONGEST),
        )
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


_LEAST = 4096  # pixels that a frame counts for: the smallest take their time, too

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Animation:
    """An animation that has been read through once, so that its frames are known to be good.

    Attributes:
        name: what messages call it.
        format: GIF, PNG, WEBP or AVIF.
        size: width and height of every frame, upright.
        durations: of each frame, in milliseconds.
        plays: how often it is shown; 0 is for ever.
        transparent: whether the frames have alpha, because one of them is not opaque.
        metadata: what else the file says; the frames have none.
        frames: decodes them once more, one after the other, each as it is seen, of 8 bits.
    """

    name: str
    format: str
    size: tuple[int, int]
    durations: tuple[Fraction, ...]
    plays: int
    transparent: bool
    metadata: Metadata
    frames: Callable[[], Iterator[Picture]]


def read_animation(
    source: bytes | Path, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Picture | Animation:
    """Read an animation, or a picture as `decode` does if it does not move.

    Several pages of a TIFF are no animation: the first one is the picture.

    Args:
        source, name: as in `decode`.
        max_pixels: as in `decode`; all frames of an animation count together.
    Raises:
        PictureError: as in `decode`; of an animation, because of any of its frames.
    """
    name = name or ("<bytes>" if isinstance(source, bytes) else str(source))
    with open_stream(source, name) as stream, _named(name, stream):
        image = open_image(stream, name, max_pixels)
        if not is_animated(image):
            return decode(source, max_pixels=max_pixels, name=name)
        stream.seek(0)
        data = stream.read()
        if image.format in ("GIF", "PNG"):
            return _of_parts(data, image.format, image.size, max_pixels, name)
        return _of_frames(data, image.format or "", max_pixels, name)


def _of_parts(
    data: bytes, format: str, size: tuple[int, int], max_pixels: int, name: str
) -> Animation:
    """Read a format that we take apart ourselves."""

    def check(count: int) -> None:
        _check_limit(size, count, max_pixels, name)

    parts = read_gif(data, check) if format == "GIF" else read_apng(data, check)
    size = parts.size  # of which some GIFs say too little
    check(len(parts.parts))
    if parts.remark:
        _logger.warning("%s: %s", name, parts.remark)
    base = _opened(data if format == "GIF" else still(data), name, max_pixels)
    metadata = read_metadata(base, name)
    info = {key: value for key, value in base.info.items() if key != "transparency"}
    grey = format == "PNG" and base.mode in ("1", "L", "LA", "I;16", "I")

    def images() -> Iterator[Image.Image]:
        for canvas in composited(parts, name):
            frame = canvas.convert("LA") if grey else canvas
            frame.info = dict(info)
            yield frame

    durations = tuple(part.duration for part in parts.parts)
    return _Reader(name, format, images).animation(metadata, parts.plays, durations)


def _of_frames(data: bytes, format: str, max_pixels: int, name: str) -> Animation:
    """Read a format that libwebp or libavif puts together."""
    base: Any = _opened(data, name, max_pixels)
    count = base.n_frames
    _check_limit(base.size, count, max_pixels, name)

    def images() -> Iterator[Image.Image]:
        image = _opened(data, name, max_pixels)
        for number in range(count):
            image.seek(number)
            image.load()
            yield image

    plays = base.info["loop"] if format == "WEBP" else avif_plays(data)
    return _Reader(name, format, images).animation(read_metadata(base, name), plays)


@dataclass
class _Reader:
    """Looks through the images of an animation, and through them again when asked for frames."""

    name: str
    format: str
    images: Callable[[], Iterator[Image.Image]]
    transparent: bool = False
    profile: bool = True

    def animation(
        self, metadata: Metadata, plays: int, durations: tuple[Fraction, ...] = ()
    ) -> Animation:
        """Look through all; without `durations` the images tell theirs."""
        size, times, end = (0, 0), list[Fraction](), Fraction(0)
        for number, image in enumerate(self.images()):
            if number == 0:
                first = without_metadata(image, self.name)
                size, self.profile = first.size, first.icc_profile is not None
            if not durations:
                times.append(Fraction(image.info["timestamp"]))
                end = times[-1] + image.info["duration"]
            if image.has_transparency_data:
                alpha = np.asarray(image.convert("RGBA").getchannel("A"))
                self.transparent |= bool(alpha.min() < 255)
        durations = durations or tuple(b - a for a, b in pairwise([*times, end]))
        kind = (self.name, self.format, size, durations, plays, self.transparent)
        return Animation(*kind, metadata, self.frames)

    def frames(self) -> Iterator[Picture]:
        """Decode all frames, one after the other."""
        with _named(self.name):
            for image in self.images():
                if not self.profile:  # that it cannot be used has been said
                    image.info.pop("icc_profile", None)
                frame = replace(without_metadata(image, self.name), format=self.format)
                alpha = frame.alpha
                if not self.transparent:
                    alpha = None
                elif alpha is None:
                    alpha = np.full(frame.rgb.shape[:2], 255, np.uint8)
                yield replace(frame, alpha=alpha)


@contextmanager
def _named(name: str, stream: BinaryIO | None = None) -> Iterator[None]:
    """Say which file is damaged."""
    try:
        yield
    except DAMAGE as error:
        raise PictureError(f"{name}: {reason(error, stream)}") from error


def _opened(data: bytes, name: str, max_pixels: int) -> Image.Image:
    return load(open_image(io.BytesIO(data), name, max_pixels), name, max_pixels)


def _check_limit(size: tuple[int, int], count: int, max_pixels: int, name: str) -> None:
    if count > 1 and max(size[0] * size[1], _LEAST) * count > max_pixels:
        raise TooLargeError(
            f"{name}: has at least {count:,} frames of {size[0]} x {size[1]}, together more than "
            f"the limit of {max_pixels:,} pixels, at least {_LEAST:,} for each frame "
            "(max_pixels, on the command line --max-pixels, raises it)"
        )


Drawn = Iterable[tuple[Picture, PhotoArray]]

_WRITERS = {"GIF": write_gif, "PNG": write_apng, "WEBP": write_webp}
# Where parts may begin: WebP knows even places only, and the pattern of a GIF must stand still.
_GRID = {"GIF": PATTERN, "PNG": 1, "WEBP": 2}


def encode_animation(
    animation: Animation,
    drawn: Drawn,
    format: str,
    quality: int | None = None,
    lossless: bool = False,
) -> bytes:
    """Write the cartoons of all frames as one file, with the metadata of the animation.

    Only one frame is held at a time, and what the file has so far. Of GIF, PNG and WebP a frame is
    written where it differs from the one before.

    Args:
        animation: where times, repetitions and metadata come from.
        drawn: frames, and what was made of each, (H, W, 3), taken when needed.
        format: one of `formats.ANIMATED`.
        quality: 1..100, of WebP and AVIF; None for 95.
        lossless: keep every value, or fail.
    Raises:
        UsageError: quality out of range.
        OutputError: the format cannot hold this animation, or is never lossless.
    """
    check_quality(quality)
    if lossless:
        check_lossless(format)
    if format == "AVIF":
        return _encode_avif(animation, drawn, quality or QUALITY)
    if format == "GIF" and max(animation.durations) > GIF_LONGEST * STEP:
        longest = GIF_LONGEST * STEP / 1000
        _logger.warning("%s: GIF shows no frame longer than %g s", animation.name, longest)
    parts = list(_parts(animation, drawn, format, quality, lossless))
    return _WRITERS[format](Parts(animation.size, animation.plays, parts))


def _parts(
    animation: Animation, drawn: Drawn, format: str, quality: int | None, lossless: bool
) -> Iterator[Part]:
    """Encode each frame, or what has changed of it."""
    # Transparent pixels of a GIF let through what was there: if frames have some, that has to go.
    clears = format == "GIF" and animation.transparent
    metadata = animation.metadata
    before: PhotoArray | None = None
    palette: Palette | None = None
    for (frame, cartoon), duration in zip(drawn, animation.durations, strict=True):
        if format == "GIF":
            palette = choose_palette(written_rgb(frame, cartoon, format), 255, palette)
        shown, alpha = _shown(frame, cartoon), frame.alpha
        rows, columns = slice(0, shown.shape[0]), slice(0, shown.shape[1])
        if before is not None and not clears:
            changed = (before != shown).any(axis=2)
            rows, columns = _box(changed, _GRID[format])
            if format == "GIF":  # what has not changed shall not flicker with the palette
                alpha = np.where(changed, 255, 0).astype(np.uint8)
        alpha = None if alpha is None else alpha[rows, columns]
        part = replace(frame, alpha=alpha, metadata=metadata)
        data = encode(part, cartoon[rows, columns], format, quality, lossless, palette)
        then: Literal["stay", "clear"] = "clear" if clears else "stay"
        yield Part(data, columns.start, rows.start, duration, False, then)
        metadata, before = Metadata(), shown


def _shown(frame: Picture, cartoon: PhotoArray) -> PhotoArray:
    return cartoon if frame.alpha is None else np.dstack([cartoon, frame.alpha])


def _box(changed: npt.NDArray[np.bool_], grid: int) -> tuple[slice, slice]:
    """Find the smallest box that begins on the grid and holds all changes, or one pixel."""
    box = []
    for axis in (1, 0):
        places = np.flatnonzero(changed.any(axis=axis))
        first, last = (places[0], places[-1]) if len(places) else (0, 0)
        box.append(slice(int(first) // grid * grid, int(last) + 1))
    return box[0], box[1]


class _Film(Image.Image):
    """Images made one at a time, looking to Pillow like a file with frames."""

    def __init__(self, images: Iterator[Image.Image], count: int) -> None:
        super().__init__()
        self.n_frames, self.is_animated = count, count > 1
        self._images, self._at = images, -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Go on to the next image; Pillow asks for no other, but for the first one at the end."""
        if frame >= self.n_frames:
            raise EOFError
        if frame > self._at:
            image = next(self._images)
            self.im, self._mode, self._size = image.im, image.mode, image.size
            self._at = frame

    def tell(self) -> int:
        """Give the number of the image."""
        return self._at


def _encode_avif(animation: Animation, drawn: Drawn, quality: int) -> bytes:
    """Let libavif find what has changed."""
    pairs = iter(drawn)
    frame, cartoon = next(pairs)
    mode = "RGBA" if animation.transparent else "RGB"
    images = (image_of(*pair).convert(mode) for pair in chain([(frame, cartoon)], pairs))
    model = replace(frame, metadata=animation.metadata)
    options = save_options(model, "AVIF", quality, lossless=False)
    options["speed"] = 7  # Pillow's 6 took 20 times as long for a file as large and hardly better
    if frame.grey:
        options["subsampling"] = "4:0:0"
    # libavif makes 1 of 0 all the same.
    options["duration"] = [max(1, step) for step in in_steps(animation.durations, 1)]
    buffer = io.BytesIO()
    try:
        _Film(images, len(animation.durations)).save(buffer, "AVIF", save_all=True, **options)
    except (OSError, RuntimeError) as error:
        raise OutputError(f"{animation.name}: cannot be written as AVIF: {error}") from error
    return with_plays(buffer.getvalue(), animation.plays)
