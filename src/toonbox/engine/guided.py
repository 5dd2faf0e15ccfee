"""Guided upsampling: the network's small picture, carried over to the photo's full size."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from toonbox.errors import ShapeError
from toonbox.pixels import FloatArray, Uint8Array

RADIUS = 1
EPS = 1e-3
STRIP_PIXELS = 1 << 20


def box_mean(image: FloatArray, radius: int) -> FloatArray:
    """Mean over square windows of 2 * radius + 1 pixels, edges repeated: (H, W, C) -> the same."""
    for axis in (0, 1):
        width = [(0, 0)] * image.ndim
        width[axis] = (radius, radius)
        padded = np.pad(image, width, mode="edge")
        size = image.shape[axis]
        shifted = (padded.take(range(start, start + size), axis) for start in range(2 * radius + 1))
        image = sum(shifted, start=np.zeros_like(image)) / np.float32(2 * radius + 1)
    return image


def linear_model(
    guide: FloatArray, target: FloatArray, radius: int = RADIUS, eps: float = EPS
) -> tuple[FloatArray, FloatArray]:
    """Fit target = slope * guide + offset in the window around each pixel, channel by channel.

    Args:
        guide: (H, W, C) in [0, 1].
        target: same shape and range.
        radius: pixels; the window's side is 2 * radius + 1.
        eps: squared units of the guide; larger smooths more.
    Returns:
        Slope and offset, (H, W, C) each, averaged over the windows that hold a pixel.
    Raises:
        ShapeError: the shapes differ.
    Source:
        He & Sun 2015 (fast guided filter), algorithm 2 up to its upsampling.
    """
    if guide.shape != target.shape:
        raise ShapeError(f"guide and target differ: {guide.shape} and {target.shape}")
    mean_guide, mean_target = box_mean(guide, radius), box_mean(target, radius)
    covariance = box_mean(np.multiply(guide, target), radius) - mean_guide * mean_target
    variance = box_mean(np.square(guide), radius) - np.square(mean_guide)
    slope = covariance / (variance + np.float32(eps))
    offset = mean_target - slope * mean_guide
    return box_mean(slope, radius), box_mean(offset, radius)


def upsample(
    photo: Uint8Array, slope: FloatArray, offset: FloatArray
) -> Iterator[tuple[slice, FloatArray]]:
    """Apply a linear model of a small picture to the full-size photo, strip by strip.

    Args:
        photo: (H, W, 3), the guide at full size.
        slope: (h, w, 3) of `linear_model`.
        offset: same shape.
    Yields:
        Rows, and their values (rows, W, 3) in [0, 1] units, not clipped.
    """
    height, width = photo.shape[:2]
    planes = [Image.fromarray(np.ascontiguousarray(p)) for m in (slope, offset)
              for p in np.moveaxis(m, 2, 0)]  # fmt: skip
    scale = slope.shape[0] / height
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        box = (0, top * scale, slope.shape[1], bottom * scale)
        large = [
            np.asarray(plane.resize((width, bottom - top), Image.Resampling.BILINEAR, box=box))
            for plane in planes
        ]
        guide = photo[top:bottom] * np.float32(1 / 255)
        yield slice(top, bottom), guide * np.stack(large[:3], 2) + np.stack(large[3:], 2)
