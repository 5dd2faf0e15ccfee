"""Bring cartoons to the size of their video in YUV, by OpenCV: colours at a quarter of the pixels.

OpenCV is optional (pip install 'toonbox[steady]'): import this module where it is installed.
"""

from functools import lru_cache

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from toonbox.engine.guided import fastest_arithmetic
from toonbox.pixels import FloatArray, Uint8Array
from toonbox.video.read import FrameColours

# Shares of red and blue in luma, ITU-T H.273, table 4.
_WEIGHTS = {
    Colorspace.ITU709: (0.2126, 0.0722),
    Colorspace.FCC: (0.30, 0.11),
    Colorspace.ITU601: (0.299, 0.114),
    Colorspace.SMPTE240M: (0.212, 0.087),
    Colorspace.BT2020: (0.2627, 0.0593),
}


def to_yuv(rgb: Uint8Array, colours: FrameColours) -> Uint8Array:
    """Convert RGB to the luma, Cb and Cr that it has in frames of these colours: (H, W, 3) each."""
    yuv: Uint8Array = cv2.transform(rgb, _matrix(colours))
    return yuv


def upsample_luma(photo: Uint8Array, small: Uint8Array, cartoon: Uint8Array) -> Uint8Array:
    """Upsample luma as `engine.guided.upsample` does colours, but faster: (H, W), as the photo.

    `small` is the photo reduced, `cartoon` what the network made of it, both (h, w).
    """
    opencv = fastest_arithmetic()
    models = opencv.fit(small, cartoon)
    slope, offset = (cv2.resize(model, photo.shape[::-1]) for model in models)
    luma = np.empty(photo.shape, np.uint8)
    opencv.apply(photo, slope, offset, luma)
    return luma


def to_frame(luma: Uint8Array, yuv: Uint8Array, colours: FrameColours) -> VideoFrame:
    """Make a frame in yuv420p of luma, (H, W), both even, and the Cb and Cr of `yuv`, (h, w, 3)."""
    height, width = luma.shape
    _, blue, red = cv2.split(cv2.resize(yuv, (width // 2, height // 2)))
    values = np.concatenate([plane.ravel() for plane in (luma, blue, red)])
    frame = VideoFrame.from_ndarray(values.reshape(-1, width), "yuv420p")
    colours.mark(frame)
    return frame


@lru_cache(maxsize=4)
def _matrix(colours: FrameColours) -> FloatArray:
    """Return the matrix from (R, G, B, 1), of [0, 255], to luma, Cb and Cr: (3, 4)."""
    red, blue = _WEIGHTS[colours.known_matrix]
    luma = np.array([red, 1 - red - blue, blue])
    chroma = [(np.eye(3)[2] - luma) / (1 - blue) / 2, (np.eye(3)[0] - luma) / (1 - red) / 2]
    full = colours.known_range == ColorRange.JPEG
    scales, zero = ((255, 255), 0) if full else ((219, 224), 16)
    rows = np.stack([luma * scales[0], *(row * scales[1] for row in chroma)]) / 255
    return np.column_stack([rows, [zero, 128, 128]]).astype(np.float32)
