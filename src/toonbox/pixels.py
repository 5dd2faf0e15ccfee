"""The ranges a picture has here: whole numbers at the borders, float [-1, 1] inside.

A photo has 8 bits (uint8, 255 is white) or 16 (uint16, 65535 is white). Levels are what both come
to on the way: [0, 255], as uint8 or, where rounding would show in 16 bits, as float32.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Uint8Array = npt.NDArray[np.uint8]
Uint16Array = npt.NDArray[np.uint16]
FloatArray = npt.NDArray[np.float32]
PhotoArray = npt.NDArray[Any]  # uint8 or uint16
Levels = npt.NDArray[Any]  # uint8 or float32

STRIP_PIXELS = 1 << 18  # of a photo, worked on at once where the whole would take much memory


class Rows(Protocol):
    """A photo, (H, W, 3) or (H, W), that gives its rows: an array, or a file read bit by bit."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and, if there are several, channels."""

    @property
    def dtype(self) -> Any:
        """The type of its values: uint8 or uint16."""

    def __getitem__(self, rows: slice) -> PhotoArray:
        """Give rows; a file is read fastest from top to bottom."""


def white(photo: PhotoArray) -> int:
    """Give the value of white: 255 or 65535."""
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
    return rgb.astype(np.float32) * np.float32(1 / 127.5) - np.float32(1)


def from_signed(signed: FloatArray) -> Uint8Array:
    """Map float [-1, 1], any shape, to uint8 [0, 255], rounded and clipped."""
    levels: Uint8Array = np.clip(np.rint((signed + 1) * np.float32(127.5)), 0, 255).astype(np.uint8)
    return levels


def strips_of(photo: Rows) -> Iterator[slice]:
    """Divide a photo into rows of about STRIP_PIXELS, from top to bottom."""
    height, width = photo.shape[:2]
    step = max(1, STRIP_PIXELS // width)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))
