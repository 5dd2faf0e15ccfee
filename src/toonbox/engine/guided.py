"""Guided upsampling: the network's small picture, carried over to the photo's full size."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from toonbox.errors import ShapeError
from toonbox.pixels import FloatArray, Levels, PhotoArray, white

RADIUS = 1
EPS = 1e-3
STRIP_PIXELS = 1 << 18  # of the full-size photo, worked on at once: small enough for the cache

Indices = npt.NDArray[np.intp]


def box_mean(image: FloatArray, radius: int) -> FloatArray:
    """Mean over square windows of 2 * radius + 1 pixels, edges repeated: (H, W, C) -> the same."""
    for axis in (0, 1):
        width = [(0, 0)] * image.ndim
        width[axis] = (radius, radius)
        padded = np.moveaxis(np.pad(image, width, mode="edge"), axis, 0)
        size = image.shape[axis]
        total = padded[:size].copy("K")
        for start in range(1, 2 * radius + 1):
            total += padded[start : start + size]
        total *= np.float32(1 / (2 * radius + 1))
        image = np.moveaxis(total, 0, axis)
    return image


def local_slope(
    guide: FloatArray, target: FloatArray, radius: int = RADIUS, eps: float = EPS
) -> FloatArray:
    """Fit target = slope * guide + offset in the window around each pixel, channel by channel.

    Args:
        guide: (H, W, C) in [0, 1].
        target: same shape and range.
        radius: pixels; the window's side is 2 * radius + 1.
        eps: squared units of the guide; larger smooths more.
    Returns:
        The slope, (H, W, C), averaged over the windows that hold a pixel.
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
    return box_mean(covariance / (variance + np.float32(eps)), radius)


def upsample(
    photo: PhotoArray, small: Levels, cartoon: Levels
) -> Iterator[tuple[slice, PhotoArray]]:
    """Bring a cartoon to the size of its photo, with the photo's edges, strip by strip.

    Each pixel becomes slope * photo + offset, both fitted at the small size and enlarged
    bilinearly. The paper averages the offset as it does the slope, which blurs what the network
    has drawn and the photo has not, outlines first of all. Here it is cartoon - slope * small: no
    more work, and at the small size nothing of the cartoon is lost.

    Args:
        photo: (H, W, 3) of 8 or 16 bits, the guide at full size.
        small: (h, w, 3), the photo reduced, h <= H and w <= W, in levels [0, 255].
        cartoon: (h, w, 3), what the network made of it, in levels.
    Yields:
        Rows, and the result's values there, (rows, W, 3), with the bits of the photo.
    Raises:
        ShapeError: `small` and `cartoon` differ.
    Source:
        He & Sun 2015, but for the offset.
    """
    (height, width), highest = photo.shape[:2], white(photo)
    columns = _neighbours(0, width, width, small.shape[1])
    strip = max(1, STRIP_PIXELS // width)
    for top in range(0, height, strip):
        bottom = min(top + strip, height)
        upper, lower, share = _neighbours(top, bottom, height, small.shape[0])
        first, last = upper[0], lower[-1] + 1
        # A slope depends on this many rows above and below it.
        start = max(0, first - 2 * RADIUS)
        band = slice(start, last + 2 * RADIUS)
        guide, target = (part[band] * np.float32(1 / 255) for part in (small, cartoon))
        slope = local_slope(guide, target)
        kept = slice(first - start, last - start)
        rows = (upper - first, lower - first, share)
        slope, offset = (
            _enlarge(model[kept], rows, columns) for model in (slope, target - slope * guide)
        )
        offset *= np.float32(highest)
        slope *= photo[top:bottom]
        slope += offset
        np.rint(slope, out=slope)
        yield slice(top, bottom), np.clip(slope, 0, highest, out=slope).astype(photo.dtype)


def _neighbours(start: int, stop: int, large: int, small: int) -> tuple[Indices, Indices, Any]:
    """Say between which two of `small` pixels each of `large` lies, and its share of the second.

    Pixels are areas, so that centres are at halves; only those from `start` to `stop`.
    """
    centres = (np.arange(start, stop) + 0.5) * (small / large) - 0.5
    places = np.clip(centres, 0, small - 1)
    first = places.astype(np.intp)
    return first, np.minimum(first + 1, small - 1), (places - first).astype(np.float32)


def _enlarge(
    model: FloatArray,
    rows: tuple[Indices, Indices, FloatArray],
    columns: tuple[Indices, Indices, FloatArray],
) -> FloatArray:
    """Interpolate bilinearly: columns first, because there are fewer rows then."""
    for axis, (first, second, share) in ((1, columns), (0, rows)):
        shape = [1, 1, 1]
        shape[axis] = -1
        result, other = model.take(first, axis), model.take(second, axis)
        other -= result
        other *= share.reshape(shape)
        result += other
        model = result
    return model
