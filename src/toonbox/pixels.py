"""The two ranges a picture has here: uint8 [0, 255] at the borders, float [-1, 1] inside."""

import numpy as np
import numpy.typing as npt

Uint8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]


def to_signed(rgb: Uint8Array) -> FloatArray:
    """Map uint8 [0, 255], any shape, to float32 [-1, 1]."""
    return rgb.astype(np.float32) * np.float32(1 / 127.5) - np.float32(1)


def to_uint8(signed: FloatArray) -> Uint8Array:
    """Map float [-1, 1], any shape, to uint8 [0, 255], rounded and clipped."""
    levels: Uint8Array = np.clip(np.rint((signed + 1) * np.float32(127.5)), 0, 255).astype(np.uint8)
    return levels
