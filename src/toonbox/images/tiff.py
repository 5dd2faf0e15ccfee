"""Decode TIFFs of 16 bits, which Pillow reduces to 8 or cannot read.

Pillow only decompresses them: it is given the same file with a directory that declares all values
as grey. FFmpeg would say nothing about damaged strips. Source: TIFF 6.0.
"""

import io
import math
from typing import Any

import numpy as np
from PIL import TiffImagePlugin, TiffTags

from toonbox.pixels import Uint16Array, strips_of, upright

PREFIXES = tuple(TiffImagePlugin.PREFIXES)
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS = 256, 257, 258, 259, 262, 273
_ORIENTATION, _CHANNELS, _ROWS, _COUNTS, _PLANAR, _PREDICTOR = 274, 277, 278, 279, 284, 317
_TILE_OFFSETS, _EXTRA, _KIND = 324, 338, 339
_WHITE_IS_ZERO, _CMYK, _YCBCR = 0, 5, 6
# The number of colours by photometric interpretation: grey, grey, RGB, CMYK.
_COLOURS = {_WHITE_IS_ZERO: 1, 1: 1, 2: 3, _CMYK: 4}
# Methods that compress any bytes: none, LZW, Deflate (twice), PackBits, LZMA, Zstandard.
_LOSSLESS = (1, 5, 8, 32946, 32773, 34925, 50000)
_WITH_PREDICTOR = (5, 8, 32946, 34925, 50000)
_JPEG = 7
_WEBP = 50001  # which Pillow knows, but few builds of libtiff read
_MULTIPLIED, _STRAIGHT = 1, 2  # kinds of alpha
MOST_CHANNELS = 16


class UnsupportedError(ValueError):
    """A file is intact, but of a kind that cannot be read; the message names it."""


class TiffFile(TiffImagePlugin.TiffImageFile):
    """A TIFF that Pillow decodes, or one of 16 bits, which is decoded here."""

    deep = False  # whether it has 16 bits
    # Of those, after `load`: (H, W, C), upright, with straight alpha behind one grey, three RGB, or
    # without alpha four CMYK.
    values: Uint16Array | None = None

    multiplied = False  # whether the alpha is premultiplied
    unconverted = False  # whether it has YCbCr, and not in a JPEG, whose decoder makes RGB of it

    def _setup(self) -> None:
        tags = self.tag_v2
        self.deep = max(tags.get(_BITS, (1,))) > 8
        method, self._extra = tags.get(_COMPRESSION, 1), tuple(tags.get(_EXTRA, ()))
        known = _LOSSLESS if self.deep else TiffImagePlugin.COMPRESSION_INFO
        if method not in known or method == _WEBP:
            name = TiffImagePlugin.COMPRESSION_INFO.get(method, f"method {method}")
            depth = "more than 8 bits, " * self.deep
            raise UnsupportedError(f"a TIFF of {depth}compressed with {name}")
        self.unconverted = tags.get(_PHOTOMETRIC) == _YCBCR and method != _JPEG
        if self.deep:
            _check_deep(tags)
            self._photometric = tags.get(_PHOTOMETRIC, 0)
            self._channels = tags.get(_CHANNELS, 1)
            colours = _COLOURS[self._photometric]
            if not self._extra and self._channels > colours:
                self._extra = (_STRAIGHT,)
            if self._photometric == _CMYK or self._extra[:1] not in ((_MULTIPLIED,), (_STRAIGHT,)):
                self._extra = ()
            # Let Pillow set itself up for 8 bits, which it is never asked to decode.
            tags[_EXTRA] = (_STRAIGHT,) * bool(self._extra)
            tags[_CHANNELS] = colours + bool(self._extra)
            tags[_BITS] = (8,) * tags[_CHANNELS]
            tags[_PHOTOMETRIC], tags[_KIND] = self._photometric or 1, (1,)
        self.multiplied = self._extra[:1] == (_MULTIPLIED,)
        super()._setup()

    def load(self) -> Any:
        """Decode the pixels; of 16 bits, only `values` are there."""
        if not self.deep:
            return super().load()
        if self.values is None:
            self.values = upright(self._decoded(), self.tag_v2.get(_ORIENTATION, 1))
        return None

    def _decoded(self) -> Uint16Array:
        """Return colours and alpha, (H, W, C)."""
        count = self._channels if self.tag_v2.get(_PLANAR, 1) == 2 else 1
        planes = [self._plane(number, count) for number in range(count)]
        values = planes[0] if count == 1 else np.concatenate(planes, axis=2)
        colours = _COLOURS[self._photometric]
        values = values[..., : colours + bool(self._extra)].copy()
        if self._photometric == _WHITE_IS_ZERO:
            values[..., 0] = ~values[..., 0]
        if self.multiplied:
            _divide(values)
        return values

    def _plane(self, number: int, count: int) -> Uint16Array:
        """Return the channels of one of `count` planes: (H, W, C)."""
        tags = self.tag_v2
        height = tags[_HEIGHT]
        rows = min(height, tags.get(_ROWS, height))
        channels = self._channels // count
        strips = math.ceil(height / rows)
        part = slice(number * strips, (number + 1) * strips)
        if len(tags[_OFFSETS][part]) < strips:
            raise ValueError("has less than its directory says")
        told = {_WIDTH: tags[_WIDTH] * channels, _HEIGHT: height, _ROWS: rows, _BITS: 16}
        told |= {_PHOTOMETRIC: 1, _CHANNELS: 1, _COMPRESSION: tags.get(_COMPRESSION, 1)}
        told |= {tag: tuple(tags[tag][part]) for tag in (_OFFSETS, _COUNTS) if tag in tags}
        with TiffImagePlugin.TiffImageFile(self._with_directory(told)) as image:
            values = np.asarray(image).astype(np.uint16, copy=False)
        values = values.reshape(height, -1, channels)
        if tags.get(_PREDICTOR) == 2 and tags.get(_COMPRESSION) in _WITH_PREDICTOR:
            values = np.cumsum(values, axis=1, dtype=np.uint16)
        return values

    def _with_directory(self, told: dict[int, Any]) -> io.BytesIO:
        """Return a file with the same data and another directory."""
        assert self.fp is not None
        self.fp.seek(0)
        data = self.fp.read()
        big = 43 in data[2:4]
        directory = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if big else 8])
        for tag, value in told.items():
            directory.tagtype[tag] = TiffTags.LONG8 if big else TiffTags.LONG
            directory[tag] = value
        file = io.BytesIO()
        directory.save(file)  # with its own length added to the offsets
        file.write(data)
        file.seek(0)
        return file


def _check_deep(tags: Any) -> None:
    """Raise UnsupportedError for what is not read of more than 8 bits; ValueError for damage."""
    bits, kinds = set(tags[_BITS]), set(tags.get(_KIND, (1,)))
    photometric, channels = tags.get(_PHOTOMETRIC, 0), tags.get(_CHANNELS, 1)
    if bits != {16} or not kinds <= {1, 4}:  # unsigned, or untold
        raise UnsupportedError("a TIFF whose values are not unsigned integers of 8 or 16 bits")
    colours = _COLOURS.get(photometric)
    if colours is None:
        raise UnsupportedError(f"a TIFF of 16 bits with photometric interpretation {photometric}")
    if not colours <= channels <= MOST_CHANNELS:
        raise UnsupportedError(f"a TIFF with {channels} channels for {colours} colours")
    if _TILE_OFFSETS in tags:
        raise UnsupportedError("a TIFF of 16 bits in tiles")
    if min(tags[_WIDTH], tags[_HEIGHT], tags.get(_ROWS, 1)) < 1:
        raise ValueError("has no pixels")


def _divide(values: Uint16Array) -> None:
    """Divide premultiplied colours, (H, W, C), by their opacity, which is the last channel."""
    for part in strips_of(values):
        colours, opacity = values[part][..., :-1], values[part][..., -1:].astype(np.uint32)
        straight = (colours * np.uint32(65535) + opacity // 2) // np.maximum(opacity, 1)
        colours[:] = np.where(opacity == 0, colours, np.minimum(straight, 65535))
