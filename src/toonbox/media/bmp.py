"""BMPs whose channels have any number of bits, of which Pillow knows a few ways only.

Source: BITMAPV4HEADER in the documentation of Windows: masks say which bits are of which channel.
"""

import struct
from typing import Any

import numpy as np
from PIL import BmpImagePlugin, Image

from toonbox.pixels import STRIP_PIXELS, Uint8Array

_BITS, _COMPRESSION, _MASKS = 28, 30, 54  # where they stand
_BY_MASKS = 3


class BmpFile(BmpImagePlugin.BmpImageFile):
    """A BMP as Pillow opens it, or one whose bits it cannot divide."""

    _masks: tuple[int, ...] = ()

    def _bitmap(self, header: int = 0, offset: int = 0) -> None:
        try:
            super()._bitmap(header, offset)
        except OSError:
            assert self.fp is not None
            self.fp.seek(0)
            head = self.fp.read(_MASKS + 16).ljust(_MASKS + 16, b"\0")
            (size,) = struct.unpack_from("<I", head, 14)
            self._bits, compression = struct.unpack_from("<HI", head, _BITS)
            if compression != _BY_MASKS or self._bits not in (16, 24, 32):
                raise
            masks = struct.unpack_from("<4I", head, _MASKS)
            self._masks = masks if size >= 56 and masks[3] else masks[:3]
            if not all(_is_mask(mask) for mask in self._masks):
                raise
            self._start, self._from_top = offset, struct.unpack_from("<i", head, 22)[0] < 0
            self._mode, self.tile = ("RGB", "RGBA")[len(self._masks) - 3], []

    def load(self) -> Any:
        """Decode the pixels."""
        if self._masks and self.fp is not None and self._im is None:
            width, height = self.size
            row = (width * self._bits + 31) // 32 * 4
            self.fp.seek(self._start)
            data = self.fp.read(row * height)
            if len(data) < row * height:
                raise EOFError("truncated BMP")
            rows = np.frombuffer(data, np.uint8).reshape(height, row)
            array = self._channels(rows[:, : width * self._bits // 8])
            self.im = Image.fromarray(array if self._from_top else array[::-1]).im
        return super().load()

    def _channels(self, rows: Uint8Array) -> Uint8Array:
        """Divide rows of bytes, (H, N), into channels, (H, W, C)."""
        height, size = len(rows), self._bits // 8
        array = np.empty((height, rows.shape[1] // size, len(self._masks)), np.uint8)
        step = max(1, STRIP_PIXELS // array.shape[1])
        for top in range(0, height, step):
            four = np.zeros((*array[top : top + step].shape[:2], 4), np.uint8)
            four[..., :size] = rows[top : top + step].reshape(*four.shape[:2], size)
            pixels = four.view("<u4")[..., 0]
            for channel, mask in enumerate(self._masks):
                most = mask // (mask & -mask)
                values = (pixels & mask) // (mask & -mask)
                array[top : top + step, :, channel] = np.rint(values * (255 / most))
        return array


def _is_mask(mask: int) -> bool:
    """Tell whether it has bits, one after the other."""
    lowest = mask & -mask
    return mask > 0 and (mask // lowest) & (mask // lowest + 1) == 0
