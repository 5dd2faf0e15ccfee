"""Decode TIFFs of 16 and 32 bits and of floats, which Pillow reduces to 8 bits or cannot read.

Pillow only decompresses them: it is given the same file with a directory that declares the strips
as 8-bit greyscale. Interpreting the bytes is done here.

FFmpeg would lose: floats of 16 bits (read wrong), BigTIFF, CIE Lab, floats of 64
bits, premultiplied alpha and inks (taken for straight alpha), LZMA and Zstandard.

Source: TIFF 6.0, and Adobe Photoshop TIFF Technical Note 3 for floating point.
"""

import ctypes
import io
import math
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin, TiffTags, _imaging

from toonbox.pixels import PhotoArray, strips_of, white

PREFIXES = tuple(TiffImagePlugin.PREFIXES)
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS = 256, 257, 258, 259, 262, 273
_ORIENTATION, _CHANNELS, _ROWS, _COUNTS, _PLANAR, _PREDICTOR = 274, 277, 278, 279, 284, 317
_FILL_ORDER, _TILE_OFFSETS, _EXTRA, _KIND = 266, 324, 338, 339
_UNSIGNED, _SIGNED, _FLOAT, _UNTOLD = 1, 2, 3, 4

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK, _LAB = 0, 1, 2, 5, 8
# By photometric interpretation: number of colour channels, and the interpretation after decoding.
_COLOURS = {
    _WHITE_IS_ZERO: (1, _BLACK_IS_ZERO),
    _BLACK_IS_ZERO: (1, _BLACK_IS_ZERO),
    _RGB: (3, _RGB),
    _CMYK: (4, _CMYK),
    _LAB: (3, _LAB),
}
_RAW, _LOG = "the raw values of a camera", "logarithmic values"
_NOT_READ = {3: "a palette of more than 8 bits", 32803: _RAW, 32844: _LOG, 32845: _LOG, 34892: _RAW}
# Compressions of arbitrary bytes: none, LZW, Deflate (twice), PackBits, LZMA, Zstandard.
_LOSSLESS = (1, 5, 8, 32946, 32773, 34925, 50000)
_WEBP = 50001  # which Pillow knows, but few builds of libtiff read
_ASSOCIATED, _STRAIGHT = 1, 2  # kinds of alpha
_MOST_CHANNELS = 16
# The value of white by the largest value: small excesses over 1 are highlights.
_FLOAT_WHITES = ((16, 1), (256, 255), (65536, 65535))

Numbers = npt.NDArray[Any]


class UnsupportedError(ValueError):
    """A file is intact, but of a kind that cannot be read; the message names it."""


@dataclass(frozen=True)
class _Layout:
    """How the pixels of a TIFF are stored.

    Attributes:
        width, height: in pixels, as stored.
        bits: of each value.
        floats: whether the values are floating point.
        photometric: the photometric interpretation.
        channels: values of a pixel, with alpha and other extra ones.
        alpha: the kind of transparency, _ASSOCIATED or _STRAIGHT; 0 for none.
        planes: 1 if the channels are interleaved, else one for each channel.
        rows: in each strip.
        predictor: 1 for none, 2 for differences, 3 for those of floats.
    """

    width: int
    height: int
    bits: int
    floats: bool
    photometric: int
    channels: int
    alpha: int
    planes: int
    rows: int
    predictor: int


class TiffFile(TiffImagePlugin.TiffImageFile):
    """A TIFF that Pillow decodes, or whose pixels are decoded here.

    Attributes:
        numbers: of the latter, after `load`: (H, W, 1) grey, (H, W, 3) of the image's mode, RGB or
            LAB, or (H, W, 4) CMYK, uint8 or uint16, upright; None if the image itself has the
            pixels, as with Pillow.
        opacity: (H, W) of the same type; None without transparency.
        deep: whether there are more than 8 bits.
        turned: whether the file says to turn or mirror the pixels, which `load` does.
        remark: what a person should know about the pixels; "" for nothing.
    """

    numbers: PhotoArray | None = None
    opacity: PhotoArray | None = None
    deep = False
    turned = False
    remark = ""

    def _setup(self) -> None:
        self._layout: _Layout | None = None
        self._loaded = False
        tags = self.tag_v2
        self.turned = tags.get(_ORIENTATION) in range(2, 9)
        if max(tags.get(_BITS, (1,))) <= 8 and tags.get(_COMPRESSION) != _WEBP:
            try:
                super()._setup()
                return
            except (SyntaxError, LookupError):  # a kind that Pillow does not read
                pass
        self._layout = layout = _layout(tags)
        self._orientation = tags.get(_ORIENTATION, 1)
        # Let Pillow set itself up for 8 bits, which it is never asked to decode.
        colours, kind = _COLOURS[layout.photometric]
        extra = (_STRAIGHT,) if layout.alpha and kind != _LAB else ()
        tags[_PHOTOMETRIC], tags[_KIND], tags[_FILL_ORDER], tags[_PLANAR] = kind, (1,), 1, 1
        tags[_CHANNELS], tags[_EXTRA] = colours + len(extra), extra
        tags[_BITS] = (8,) * tags[_CHANNELS]
        super()._setup()
        self.deep = layout.bits > 8 and layout.photometric not in (_CMYK, _LAB)

    @property
    def multiplied(self) -> bool:
        """Whether the alpha is premultiplied."""
        if self._layout is None:
            return tuple(self.tag_v2.get(_EXTRA, ()))[:1] == (_ASSOCIATED,)
        return self._layout.alpha == _ASSOCIATED

    def load(self) -> Any:
        """Decode the pixels."""
        if self._loaded:  # Pillow calls this while it loads
            return super().load() if self._layout is None else None
        self._loaded = True
        _silence()
        if self._layout is not None:
            self._load_numbers(self._layout)
            return None
        return super().load()

    def _load_numbers(self, layout: _Layout) -> None:
        assert self.fp is not None
        numbers = _numbers(layout, self.fp, self.tag_v2)
        if layout.floats:
            numbers, self.remark = _from_floats(numbers)
        elif layout.bits == 32:
            numbers = (numbers >> 16).astype(np.uint16)
        colours, opacity = _meaning(numbers, layout)
        self.numbers = _upright(colours, self._orientation)
        self.opacity = None if opacity is None else _upright(opacity, self._orientation)


@cache
def _silence() -> None:
    """Silence Pillow's libtiff, which writes errors to stderr that Pillow raises as well.

    This has no effect where Pillow hides the symbols of its libtiff.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def _layout(tags: Any) -> _Layout:
    """Read the layout from a directory.

    Raises:
        UnsupportedError: of a kind that is not read.
        ValueError, LookupError, TypeError: the directory is damaged.
    """
    photometric, compression = tags.get(_PHOTOMETRIC, 0), tags.get(_COMPRESSION, 1)
    bits, kinds = set(tags.get(_BITS, (1,))), set(tags.get(_KIND, (_UNSIGNED,)))
    channels = tags.get(_CHANNELS, 1)
    if photometric not in _COLOURS:
        what = _NOT_READ.get(photometric, f"photometric interpretation {photometric}")
        raise UnsupportedError(f"a TIFF with {what}")
    if compression not in _LOSSLESS:
        what = TiffImagePlugin.COMPRESSION_INFO.get(compression, f"method {compression}")
        raise UnsupportedError(f"a TIFF of this kind of pixels, compressed with {what}")
    if len(bits) > 1 or len(kinds) > 1:
        raise UnsupportedError("a TIFF whose channels differ in their kind of numbers")
    depth, kind = bits.pop(), kinds.pop()
    known = (16, 32, 64) if kind == _FLOAT else (8, 16, 32)
    lab = photometric == _LAB
    if (kind == _SIGNED and not lab) or kind > _UNTOLD or depth not in known:
        name = {_SIGNED: "signed", _FLOAT: "floating point"}.get(kind, "unusual")
        raise UnsupportedError(f"a TIFF with {name} numbers of {depth} bits")
    colours = _COLOURS[photometric][0]
    extra = tuple(tags.get(_EXTRA, ()))
    if lab and (kind == _FLOAT or depth not in (8, 16)):
        raise UnsupportedError(f"a TIFF with CIE Lab of {depth} bits")
    if not colours <= channels <= _MOST_CHANNELS:
        raise UnsupportedError(f"a TIFF with {channels} channels where {colours} are expected")
    alpha = extra[0] if extra else _STRAIGHT * (channels > colours)
    if photometric == _CMYK or alpha not in (_ASSOCIATED, _STRAIGHT):
        alpha = 0
    width, height = tags[_WIDTH], tags[_HEIGHT]
    rows = min(height, tags.get(_ROWS, height))
    if min(rows, width) < 1:
        raise ValueError("has no pixels")
    planes = channels if tags.get(_PLANAR, 1) == 2 else 1
    predictor = tags.get(_PREDICTOR, 1) if compression not in (1, 32773) else 1
    meaning = (depth, kind == _FLOAT, photometric, channels, alpha)
    return _Layout(width, height, *meaning, planes, rows, predictor)


def _numbers(layout: _Layout, stream: IO[bytes], tags: Any) -> Numbers:
    """Return the uncompressed values, (H, W, C)."""
    if _TILE_OFFSETS in tags:
        raise UnsupportedError("a TIFF of this kind of pixels, in tiles")
    stream.seek(0)
    data, planes, limit = stream.read(), [], Image.MAX_IMAGE_PIXELS
    try:
        Image.MAX_IMAGE_PIXELS = None  # the caller holds the lock of this limit
        for plane in range(layout.planes):
            with Image.open(_as_bytes(layout, tags, plane, data), formats=["TIFF"]) as image:
                planes.append(_decoded(np.asarray(image), layout, tags._endian))
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)


def _as_bytes(layout: _Layout, tags: Any, plane: int, data: bytes) -> IO[bytes]:
    """Return a file with the same data that declares one plane as 8-bit greyscale."""
    strips = math.ceil(layout.height / layout.rows)
    if len(tags[_OFFSETS]) < layout.planes * strips:
        raise ValueError("has less than its directory says")
    row = layout.width * layout.channels // layout.planes * layout.bits // 8
    told: dict[int, Any] = {_WIDTH: row, _HEIGHT: layout.height, _ROWS: layout.rows}
    told |= {_BITS: 8, _PHOTOMETRIC: 1, _CHANNELS: 1}
    told |= {tag: tags[tag] for tag in (_COMPRESSION, _FILL_ORDER) if tag in tags}
    part = slice(plane * strips, (plane + 1) * strips)
    told |= {tag: tuple(tags[tag][part]) for tag in (_OFFSETS, _COUNTS) if tag in tags}
    directory = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if tags._bigtiff else 8])
    for tag, value in told.items():
        directory.tagtype[tag] = TiffTags.LONG8 if tags._bigtiff else TiffTags.LONG
        directory[tag] = value
    file = io.BytesIO()
    directory.save(file)  # with its own length added to the offsets
    file.write(data)
    return file


def _decoded(rows: Numbers, layout: _Layout, order: str) -> Numbers:
    """Decode rows of bytes, (H, N), to values, (H, W, C)."""
    channels, size = layout.channels // layout.planes, layout.bits // 8
    if layout.predictor == 3:
        return _floats(rows, channels, size)
    numbers = rows.view(f"{order}u{size}").astype(f"u{size}").reshape(len(rows), -1, channels)
    if layout.predictor == 2:
        np.cumsum(numbers, axis=1, dtype=numbers.dtype, out=numbers)
    return numbers.view(f"f{size}") if layout.floats else numbers


def _floats(rows: Numbers, channels: int, size: int) -> Numbers:
    """Undo the floating point predictor: differences of bytes, sorted by significance."""
    height = len(rows)
    whole = np.cumsum(rows.reshape(height, -1, channels), axis=1, dtype=np.uint8)
    apart = whole.reshape(height, size, -1).transpose(0, 2, 1)
    floats = np.ascontiguousarray(apart).view(f">f{size}").astype(f"f{size}")
    return floats.reshape(height, -1, channels)


def _from_floats(numbers: Numbers) -> tuple[PhotoArray, str]:
    finite = np.isfinite(numbers)
    least, most = (float(of(numbers, where=finite, initial=0)) for of in (np.min, np.max))
    top = next((top for limit, top in _FLOAT_WHITES if most < limit), 0)
    if not top:
        raise UnsupportedError(f"a TIFF of floats up to {most:g}, without a known white")
    whole = np.empty(numbers.shape, np.uint16)
    for part in strips_of(numbers):
        scaled = np.nan_to_num(numbers[part].astype(np.float32), nan=0, posinf=top, neginf=0)
        whole[part] = np.rint(np.clip(scaled * np.float32(65535 / top), 0, 65535))
    if top == 1 and least >= 0 and most <= 1 and finite.all():
        return whole, ""
    return whole, f"has floats from {least:g} to {most:g}; 0 becomes black and {top} white"


def _meaning(numbers: PhotoArray, layout: _Layout) -> tuple[PhotoArray, PhotoArray | None]:
    """Split values, (H, W, C), into colours and opacity."""
    count = _COLOURS[layout.photometric][0]
    colours = numbers[..., :count]
    if layout.photometric == _WHITE_IS_ZERO:
        colours = white(colours) - colours
    if not layout.alpha:
        return colours, None
    opacity = numbers[..., count]
    if layout.alpha == _ASSOCIATED:
        colours = _unmultiplied(colours, opacity)
    return colours, opacity


def _unmultiplied(colours: PhotoArray, opacity: PhotoArray) -> PhotoArray:
    """Divide premultiplied colours by their opacity."""
    result, top = np.empty_like(colours), np.uint32(white(colours))
    for part in strips_of(colours):
        by = opacity[part][..., None].astype(np.uint32)
        whole = (colours[part] * top + by // 2) // np.maximum(by, 1)
        result[part] = np.where(by == 0, colours[part], np.minimum(whole, top))
    return result


def _upright(array: PhotoArray, orientation: Any) -> PhotoArray:
    """Apply an EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)
