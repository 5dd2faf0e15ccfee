"""How much memory a picture takes, and how to do with less."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path

from toonbox.engine.style import Style
from toonbox.errors import MissingExtraError, TooLargeError, UsageError
from toonbox.images.picture import Header
from toonbox.images.streaming import ADVICE, can_stream
from toonbox.options import Resolution

MIB = 1 << 20
# All measured as peaks of the whole command; tests/test_memory.py checks that they hold.
_PROCESS = 180 * MIB  # Python, the libraries, a style without a picture
_NETWORK = 380  # bytes for each pixel that the network sees at once
_STREAM = 80 * MIB, 6000  # bytes, and bytes for each pixel of width, of a streamed picture
# Bytes for each pixel of a picture in memory, at the worst moment, by what is read or written.
_PIXEL = {"JPEG": 8, "PNG": 8, "TIFF": 11, "BMP": 11, "PPM": 11, "WEBP": 17, "GIF": 17}
_OTHER_PIXEL, _DEEP_PIXEL, _ALPHA = 46, 17, 4
_TILES = (768, 512, 256, 128)
_OF_THE_MACHINE = 0.75


@dataclass(frozen=True)
class Need:
    """What a picture takes, in bytes, beside the process itself.

    Attributes:
        own: from reading to writing.
        network: while it is drawn.
        streamed: whether it must be read and written a few rows at a time.
    """

    own: int = 0
    network: int = 0
    streamed: bool = False


class Memory:
    """A limit for the whole process, and the style that keeps to it."""

    def __init__(self, style: Style, limit: int | None = None) -> None:
        """Choose the tiles in which the network works.

        Args:
            style: what `load_style` returned.
            limit: bytes; None takes three quarters of what the machine has, or of what the
                container may use.
        Raises:
            UsageError: nothing at all can be done with so little.
        """
        self.told, self.limit = limit is not None, limit or machine_limit()
        self.style = style
        for tile in _TILES:
            if self._network(10**9) * 2 <= self.limit - _PROCESS:
                return
            self.style = Style(style.card, style.session, min(tile, style.tile))
        least = _PROCESS + 2 * self._network(10**9)
        if least > self.limit:
            words = in_words(self.limit), in_words(least)
            raise UsageError("{} of memory are too little; at least {} are needed".format(*words))

    def need(self, name: str, header: Header, format: str, resolution: Resolution) -> Need:
        """Estimate what a picture takes, and choose how to do it.

        Args:
            name: what messages call it.
            header: of the picture.
            format: what will be written, Pillow's name.
            resolution: at which the network works.
        Raises:
            TooLargeError, MissingExtraError: it takes more than the limit; says how much.
        """
        pixels = header.width * header.height
        height, width = self.style.working_size((header.height, header.width), resolution)
        network = self._network(height * width) + 20 * min(height * width, pixels)
        each = max(_PIXEL.get(kind, _OTHER_PIXEL) for kind in (header.format, format))
        each = max(each, _DEEP_PIXEL) if header.deep else each
        each += _ALPHA * header.transparent * (1 + header.deep)
        whole = Need(each * pixels, network)
        if self.fits([whole]):
            return whole
        streamed = Need(_STREAM[0] + _STREAM[1] * header.width, network, True)
        needed = in_words(_PROCESS + whole.own + whole.network)
        text = f"{name}: needs about {needed} of memory, {self._allowed()}"
        if not can_stream():
            raise MissingExtraError(f"{text}; {ADVICE}")
        if not self.fits([streamed]):
            less = in_words(_PROCESS + streamed.own + streamed.network)
            raise TooLargeError(f"{text}, and streamed still {less}")
        return streamed

    def fits(self, needs: Collection[Need], jobs: int = 1) -> bool:
        """Tell whether so many pictures can be on their way, `jobs` of them drawn at a time."""
        return fit(needs, self.limit, jobs)

    def _network(self, pixels: int) -> int:
        side = self.style.tile + 2 * self.style.card.reach
        return _NETWORK * min(pixels, side * side)

    def _allowed(self) -> str:
        limit = in_words(self.limit)
        if self.told:
            return f"more than the {limit} of --max-memory (max_memory)"
        return f"more than {limit}, three quarters of this machine's (--max-memory changes that)"


def fit(needs: Collection[Need], limit: int, jobs: int = 1) -> bool:
    """Tell whether pictures can be on their way within a limit, `jobs` of them drawn at a time."""
    networks = nlargest(jobs, (need.network for need in needs))
    return _PROCESS + sum(need.own for need in needs) + sum(networks) <= limit


def machine_limit() -> int:
    """Give three quarters of the memory there is, in bytes; where nobody tells, no limit."""
    known = []
    if hasattr(os, "sysconf") and {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys():
        known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    container = Path("/sys/fs/cgroup/memory.max")
    if container.exists() and (text := container.read_text().strip()).isdecimal():
        known.append(int(text))
    return int(_OF_THE_MACHINE * min(known, default=1 << 60))


def in_words(size: int) -> str:
    """Say a size in MiB or GiB, as --max-memory takes it."""
    return f"{size / 1024**3:.1f}G" if size >= 1024**3 else f"{-(-size // MIB)}M"
