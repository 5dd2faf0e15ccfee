"""GIF animations: their blocks into stills, and stills into blocks. Pillow packs the pixels.

Pillow's own writer merges frames that are equal, and takes the whole animation into memory.
Source: the GIF89a specification, and NETSCAPE2.0 for loops, by which n means n more times.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from toonbox.media.parts import FOREVER, Part, Parts, in_steps

STEP = 10  # milliseconds in a GIF's unit of time
LONGEST = 65535
_BEGINNINGS = (b"GIF87a", b"GIF89a")
_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_CONTROL, _COMMENT, _APPLICATION = 0xF9, 0xFE, 0xFF
_THEN: dict[int, Literal["stay", "clear", "restore"]] = {2: "clear", 3: "restore"}


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
        if label == _CONTROL and blocks and len(blocks[0]) >= 4:
            flags, delay, transparent = struct.unpack("<BHB", blocks[0][:4])
            return flags, delay, transparent
        if label == _COMMENT:
            self.comments += b"!\xfe" + self.data[start : self.at]
        loops = label == _APPLICATION and len(blocks) > 1 and blocks[0] in _LOOPS
        if loops and blocks[1][0] & 7 == 1 and len(blocks[1]) >= 3:
            self.loops = int.from_bytes(blocks[1][1:3], "little")
        return None


def read(data: bytes, check: Callable[[int], None] = lambda count: None) -> Parts:
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
        then = _THEN.get(flags >> 2 & 7, "stay")
        parts.append(Part(file, frame.left, frame.top, Fraction(delay * STEP), True, then))
    plays = 1 if blocks.loops is None else blocks.loops + 1 if blocks.loops else FOREVER
    remark = "" if blocks.ended else "has no mark at its end; perhaps frames are missing"
    remark = "is followed by another GIF, which is left out" if blocks.followed else remark
    return Parts((width, height), plays, parts, remark)


def write(animation: Parts) -> bytes:
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
        control = (flags, min(delay, LONGEST), transparent)
        body.append(replace(frame, left=part.left, top=part.top, control=control).blocks())
    head = b"GIF89a" + struct.pack("<2H3B", *animation.size, 0, 0, 0)
    if animation.plays != 1:
        again = max(0, min(animation.plays - 1, 65535))
        head += b"!\xff\x0b" + _LOOPS[0] + struct.pack("<BBHB", 3, 1, again, 0)
    return b"".join([head, comments, *body, b";"])
