"""Ranges of pixel values, and colours by any profile.

A photo has 8 bits (uint8, 255 is white) or 16 (uint16, 65535 is white). Levels are what both come
to on the way: [0, 255], as uint8 or, where rounding would show in 16 bits, as float32. Networks see
float32 [-1, 1], and know sRGB: colours of other profiles are converted on the way in and out.
"""

import functools
import io
import logging
import struct
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

Uint8Array = npt.NDArray[np.uint8]
Uint16Array = npt.NDArray[np.uint16]
FloatArray = npt.NDArray[np.float32]
PhotoArray = npt.NDArray[Any]  # uint8 or uint16
Levels = npt.NDArray[Any]  # uint8 or float32

STRIP_PIXELS = 1 << 18  # of a photo, worked on at once where the whole would take much memory

_NODES = np.arange(0, 256, 3, dtype=np.uint8)  # 255 = 85 * 3
_LOOKED_UP_PIXELS = 1 << 16  # at once: eight corners of each take memory
_RED, _GREEN, _BLUE = 19595, 38470, 7471  # of grey, in 65536ths, as in Pillow

_logger = logging.getLogger(__name__)


class Rows(Protocol):
    """A photo, (H, W, 3) or (H, W), that gives its rows: an array, or a file that is streamed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and, if there are several, channels."""

    @property
    def dtype(self) -> Any:
        """The type of its values: uint8 or uint16."""

    def __getitem__(self, rows: slice) -> PhotoArray:
        """Return rows; a file is read fastest from top to bottom."""


def white(photo: PhotoArray) -> int:
    """Return the value of white: 255 or 65535."""
    return int(np.iinfo(photo.dtype).max)


def to_levels(photo: PhotoArray) -> Levels:
    """Map 16 bits to float32 [0, 255], any shape; 8 bits and what is levels already stay."""
    return photo * np.float32(1 / 257) if photo.dtype == np.uint16 else photo


def from_levels(levels: Levels, dtype: Any) -> PhotoArray:
    """Map levels, any shape, to 8 or 16 bits, rounded and clipped."""
    if levels.dtype == dtype:
        return levels
    scaled = levels * np.float32(np.iinfo(dtype).max / 255)
    photo: PhotoArray = np.clip(np.rint(scaled), 0, np.iinfo(dtype).max).astype(dtype)
    return photo


def to_eight_bits(photo: PhotoArray) -> Uint8Array:
    """Map 8 bits to themselves and 16 to the nearest of 8, any shape: 65535 = 255 * 257."""
    if white(photo) == 255:
        return photo.astype(np.uint8, copy=False)
    return ((photo.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_signed(rgb: Levels) -> FloatArray:
    """Map levels [0, 255], any shape, to float32 [-1, 1]."""
    signed = rgb.astype(np.float32)
    signed *= np.float32(1 / 127.5)
    signed -= np.float32(1)
    return signed


def from_signed(signed: FloatArray) -> Uint8Array:
    """Map float [-1, 1], any shape, to uint8 [0, 255], rounded and clipped."""
    levels = signed + np.float32(1)
    levels *= np.float32(127.5)
    return np.clip(np.rint(levels, out=levels), 0, 255, out=levels).astype(np.uint8)


def strips_of(photo: Rows) -> Iterator[slice]:
    """Divide a photo into rows of about STRIP_PIXELS, from top to bottom."""
    height, width = photo.shape[:2]
    step = max(1, STRIP_PIXELS // width)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def upright(values: PhotoArray, orientation: Any) -> PhotoArray:
    """Apply an EXIF orientation to (H, W, C) or (H, W)."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


class RgbColours:
    """The colours of an RGB profile; both ways take and give levels, (H, W, 3) in [0, 255].

    LittleCMS, as Pillow brings it, knows 8 bits. Floats are interpolated between colours that it
    has converted, so that smooth gradients stay smooth.
    """

    def __init__(self, profile: ImageCms.ImageCmsProfile) -> None:
        self._forth = ImageCms.buildTransform(profile, _srgb(), "RGB", "RGB")
        self._back = ImageCms.buildTransform(_srgb(), profile, "RGB", "RGB")

    def to_srgb(self, levels: Levels) -> Levels:
        """Convert to sRGB."""
        return _converted(levels, self._forth)

    def from_srgb(self, levels: Levels) -> Levels:
        """Convert back."""
        return _converted(levels, self._back)

    def are_srgb(self) -> bool:
        """Tell sRGB by what it does, since it has many names; steps of 2 are rounding."""
        colours = _cube(np.arange(0, 256, 51, dtype=np.uint8))
        changed = _converted(colours, self._forth)
        return int(np.abs(changed.astype(int) - colours).max()) <= 2


class GreyColours:
    """Levels of grey in three equal channels; what comes back from sRGB is grey again."""

    def __init__(self, profile: ImageCms.ImageCmsProfile | None = None) -> None:
        self._forth = self._back = np.arange(256, dtype=np.float32)
        if profile is not None:
            greys = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
            forth = ImageCms.buildTransform(profile, _srgb(), "L", "RGB").apply(greys)
            back = ImageCms.buildTransform(_srgb(), profile, "RGB", "L").apply(greys.convert("RGB"))
            self._forth, self._back = (
                np.asarray(values)[0].astype(np.float32) for values in (forth.getchannel("G"), back)
            )

    def to_srgb(self, levels: Levels) -> Levels:
        """Convert to sRGB."""
        return _three_channels(levels[..., 0], self._forth, levels.dtype)

    def from_srgb(self, levels: Levels) -> Levels:
        """Convert back, by brightness."""
        red, green, blue = (levels[..., channel].astype(np.float32) for channel in range(3))
        brightness = (red * _RED + green * _GREEN + blue * _BLUE) * np.float32(1 / 65536)
        if levels.dtype == np.uint8:
            brightness = np.floor(brightness + np.float32(0.5))
        return _three_channels(brightness, self._back, levels.dtype)


Colours = RgbColours | GreyColours


def read_colours(
    image: Image.Image, profile: bytes | None, name: str
) -> tuple[Image.Image, Colours | None, bytes | None]:
    """Find out what a picture's values mean.

    Args:
        image: mode L, RGB or CMYK.
        profile: the ICC profile its values mean, None for the usual one of its mode.
        name: what messages call the picture.
    Returns:
        The picture in mode L or RGB; its colours, None for sRGB; and the profile to write with it,
        None if it came with none or with one that cannot be used, which is logged. RGB and grey
        stay as they are. CMYK becomes sRGB, and so does RGB whose profile works one way only.
    """
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return _with_profile(image, source, profile)
        except (ImageCms.PyCMSError, OSError):
            _logger.warning("%s: its colour profile cannot be used and is left out", name)
    if image.mode == "L":
        return image, GreyColours(), None
    return image if image.mode == "RGB" else image.convert("RGB"), None, None


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert what Pillow has opened to an RGB image in sRGB, by the profile it carries."""
    mode = image.mode if image.mode in ("L", "RGB", "CMYK") else "RGB"
    profile, name = image.info.get("icc_profile"), "<image>"
    image, colours, _ = read_colours(image.convert(mode), profile, name)
    rgb = np.asarray(image.convert("RGB"))
    return Image.fromarray(rgb if colours is None else colours.to_srgb(rgb))


def _with_profile(
    image: Image.Image, source: ImageCms.ImageCmsProfile, profile: bytes
) -> tuple[Image.Image, Colours | None, bytes | None]:
    if image.mode == "L" and source.profile.xcolor_space.strip() == "RGB":
        image = image.convert("RGB")
    if image.mode == "L":
        return image, GreyColours(source), profile
    if image.mode == "RGB":
        try:
            colours = RgbColours(source)
            return image, None if colours.are_srgb() else colours, profile
        except ImageCms.PyCMSError:
            pass
    transform = ImageCms.buildTransform(source, _srgb(), image.mode, "RGB")
    return transform.apply(image), None, _srgb_bytes()


def _converted(levels: Levels, transform: ImageCms.ImageCmsTransform) -> Levels:
    if levels.dtype == np.uint8:
        return np.array(transform.apply(Image.fromarray(levels)))
    count = len(_NODES)
    cube = np.asarray(transform.apply(Image.fromarray(_cube(_NODES)))).astype(np.float32)
    table = cube.reshape(count, count, count, 3)
    result = np.empty_like(levels)
    rows = max(1, _LOOKED_UP_PIXELS // levels.shape[1])
    for top in range(0, levels.shape[0], rows):
        result[top : top + rows] = _looked_up(levels[top : top + rows], table)
    return result


def _cube(values: Levels) -> Levels:
    """Make all colours of these values, red changing last: (1, N ** 3, 3)."""
    return np.stack(np.meshgrid(values, values, values, indexing="ij"), axis=-1).reshape(1, -1, 3)


def _looked_up(levels: FloatArray, table: FloatArray) -> FloatArray:
    """Interpolate trilinearly between the nodes of a table, (N, N, N, 3)."""
    places = levels * np.float32((len(table) - 1) / 255)
    first = np.clip(places.astype(np.intp), 0, len(table) - 2)
    share = places - first
    result = np.zeros_like(levels)
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(corner, share, 1 - share).prod(axis=-1, keepdims=True)
        red, green, blue = np.moveaxis(first + corner, -1, 0)
        result += weight * table[red, green, blue]
    return result


def _three_channels(grey: Levels, table: FloatArray, dtype: Any) -> Levels:
    """Look up grey, (H, W), in a table of 256 levels: (H, W, 3), its channels equal."""
    found = np.interp(grey, np.arange(256), table).astype(np.float32)
    found = np.rint(found) if dtype == np.uint8 else found
    return np.repeat(found[..., None].astype(dtype), 3, axis=2)


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@functools.cache
def _srgb_bytes() -> bytes:
    data = _srgb().tobytes()
    # LittleCMS stamps the time of day; equal pictures should give equal files.
    return data[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + data[36:]
