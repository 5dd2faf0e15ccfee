"""Guided upsampling: bring the network's small picture to the photo's full size."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toonbox.errors import ShapeError
from toonbox.parallel import shared_map
from toonbox.pixels import FloatArray, Levels, PhotoArray, Rows

RADIUS = 1
EPS = 1e-3
JOB_PIXELS = 1 << 20  # of the photo: in smaller jobs, more rows would be fitted twice
CACHED_PIXELS = 1 << 16  # fitted at once: few for the cache, many for threads that take turns
MULTIPLICATIONS = 1 << 18  # in a product of matrices; OpenBLAS divides larger ones among threads

Indices = npt.NDArray[np.intp]
Neighbours = tuple[Indices, Indices, FloatArray]


class Arithmetic(NamedTuple):
    """What `upsample` computes with: `NUMPY`, or OpenCV, which takes a third of the time."""

    box_sum: Callable[[FloatArray, int], FloatArray]
    widen: Callable[[FloatArray, int], FloatArray]  # (h, w, C) sideways, bilinearly: (h, W C)
    # slope * photo + offset, clipped, into the last; (h, W, C) all.
    apply: Callable[[PhotoArray | FloatArray, FloatArray, FloatArray, PhotoArray], None]
    half: float  # added to offsets, so that `apply` rounds


def box_sum(image: FloatArray, radius: int) -> FloatArray:
    """Sum over square windows of 2 * radius + 1 pixels, edges repeated: (H, W, C), alike."""
    height, width, channels = image.shape
    padded = np.empty((height, width + 2 * radius, channels), image.dtype)
    rows = padded[:, radius : radius + width]
    rows[:] = image
    for distance in range(1, radius + 1):
        inner = max(0, height - distance)
        rows[distance:] += image[:inner]
        rows[:inner] += image[distance:]
        rows[:distance] += image[:1]
        rows[inner:] += image[-1:]
    padded[:, :radius] = rows[:, :1]
    padded[:, radius + width :] = rows[:, -1:]
    total: FloatArray = padded[:, :width] + padded[:, 1 : width + 1]
    for start in range(2, 2 * radius + 1):
        total += padded[:, start : start + width]
    return total


def local_slope(
    guide: FloatArray,
    target: FloatArray,
    radius: int = RADIUS,
    eps: float = EPS,
    box_sum: Callable[[FloatArray, int], FloatArray] = box_sum,
) -> FloatArray:
    """Fit target = slope * guide + offset in the window around each pixel, channel by channel.

    Args:
        guide: (H, W, C).
        target: same shape and unit.
        radius: pixels, at least 1; the window's side is 2 * radius + 1.
        eps: squared units of the guide; larger smooths more.
        box_sum: sums over windows, as the function of this name does.
    Returns:
        The slope, (H, W, C), averaged over the windows that hold a pixel.
    Raises:
        ShapeError: the shapes differ.
    Source:
        He & Sun 2015 (fast guided filter), algorithm 2 up to its upsampling.
    """
    if guide.shape != target.shape:
        raise ShapeError(f"guide and target differ: {guide.shape} and {target.shape}")
    # Sums instead of means, and arrays used again: it is memory that takes the time.
    count = np.float32((2 * radius + 1) ** 2)
    guides, targets = box_sum(guide, radius), box_sum(target, radius)
    covariance = box_sum(guide * target, radius) * count
    variance = box_sum(np.square(guide), radius) * count
    covariance -= guides * targets
    variance -= np.square(guides)
    variance += count * count * np.float32(eps)
    covariance /= variance
    slope = box_sum(covariance, radius)
    slope /= count
    return slope


def _widen(model: FloatArray, width: int) -> FloatArray:
    left, right, share = _columns(width, *model.shape[1:])
    flat = model.reshape(len(model), -1)
    # All are within; "clip" is what NumPy does without looking at each first.
    enlarged, other = (flat.take(side, 1, mode="clip") for side in (left, right))
    other -= enlarged
    other *= share
    enlarged += other
    return enlarged


def _apply(
    photo: PhotoArray | FloatArray, slope: FloatArray, offset: FloatArray, result: PhotoArray
) -> None:
    slope *= photo.astype(np.float32)
    slope += offset
    np.clip(slope, 0, np.iinfo(result.dtype).max + 0.5, out=slope)
    result[...] = slope  # cuts off


NUMPY = Arithmetic(box_sum, _widen, _apply, half=0.5)


def upsample(
    photo: Rows, small: Levels, cartoon: Levels, threads: int = 1, arithmetic: Arithmetic = NUMPY
) -> Iterator[tuple[slice, PhotoArray, PhotoArray]]:
    """Bring a cartoon to the size of its photo, with the photo's edges, strip by strip.

    Each pixel becomes slope * photo + offset, both fitted at the small size and enlarged
    bilinearly. The paper averages the offset as it does the slope, which blurs what the network
    has drawn and the photo has not, outlines first of all. Here it is cartoon - slope * small: no
    more work, and at the small size nothing of the cartoon is lost. A cartoon in black and white is
    guided by the photo's grey, so that no colour comes back.

    Args:
        photo: (H, W, 3) of 8 or 16 bits, the guide at full size; read once, from top to bottom.
        small: (h, w, 3), the photo reduced, h <= H and w <= W, in levels [0, 255].
        cartoon: (h, w, 3), what the network made of it, in levels.
        threads: strips at a time; with more than one, some are read ahead.
        arithmetic: what computes it.
    Yields:
        Rows from top to bottom, the photo there, and the result there, both (rows, W, 3) with the
        bits of the photo.
    Raises:
        ShapeError: `small` and `cartoon` differ.
    Source:
        He & Sun 2015, but for the offset.
    """
    height, width, channels = photo.shape
    highest = np.iinfo(photo.dtype).max
    grey = all((row == row[:, :1]).all() for row in cartoon)
    small = _grey(small) if grey else small
    upper, lower, below = _neighbours(height, len(small))
    at_once = _rows_at_once(len(small) / height, width * channels)

    def enlarge(strip: tuple[slice, PhotoArray]) -> tuple[slice, PhotoArray, PhotoArray]:
        rows, own = strip
        result, start = np.empty(own.shape, own.dtype), upper[rows.start]
        fitted = slice(start, lower[rows.stop - 1] + 1)
        slopes, offsets = (
            arithmetic.widen(model, width)
            for model in _lines(small, cartoon, fitted, highest, arithmetic)
        )
        for top in range(0, len(own), at_once):
            seen = own[top : top + at_once]
            at = slice(rows.start + top, rows.start + top + len(seen))
            lines, shares = _shares(upper[at] - start, lower[at] - start, below[at])
            slope, offset = (
                (shares @ model[lines]).reshape(seen.shape) for model in (slopes, offsets)
            )
            guide = _grey(seen) if grey else seen
            arithmetic.apply(guide, slope, offset, result[top : top + at_once])
        return rows, own, result

    fitted_at_once = max(1, CACHED_PIXELS // small.shape[1]) * height // len(small)
    tall = max(1, min(JOB_PIXELS // width, -(-height // threads), fitted_at_once))
    places = (slice(top, min(top + tall, height)) for top in range(0, height, tall))
    strips = ((rows, photo[rows]) for rows in places)
    return shared_map(strips, enlarge, threads)


def _grey(values: PhotoArray | Levels) -> FloatArray:
    """Replace the channels of (H, W, 3) by their mean, as floats."""
    mean = values.mean(axis=2, keepdims=True, dtype=np.float32)
    return np.broadcast_to(mean, values.shape)


def _lines(
    small: Levels, cartoon: Levels, wanted: slice, highest: int, arithmetic: Arithmetic
) -> tuple[FloatArray, FloatArray]:
    """Fit slope and offset, in values of the photo, in wanted rows of the small picture."""
    # A slope depends on this many rows above and below it.
    start = max(0, wanted.start - 2 * RADIUS)
    band = slice(start, wanted.stop + 2 * RADIUS)
    guide, target = (part[band] * np.float32(1 / 255) for part in (small, cartoon))
    slope = local_slope(guide, target, box_sum=arithmetic.box_sum)
    offset = (target - slope * guide) * np.float32(highest) + np.float32(arithmetic.half)
    kept = slice(wanted.start - start, wanted.stop - start)
    return slope[kept], offset[kept]


def _rows_at_once(lines_per_row: float, values: int) -> int:
    """Return how many rows of so many values to interpolate in one product of matrices."""
    # n rows lie between about n * lines_per_row + 2 lines; all three sides are multiplied.
    root = np.sqrt(1 + lines_per_row * MULTIPLICATIONS / values)
    return max(1, int((root - 1) / lines_per_row))


def _shares(upper: Indices, lower: Indices, below: FloatArray) -> tuple[slice, FloatArray]:
    """Return the lines that some rows lie between, and their weights in each, (rows, lines)."""
    first = upper[0]
    shares = np.zeros((len(upper), lower[-1] + 1 - first), np.float32)
    rows = np.arange(len(upper))
    shares[rows, upper - first] = 1 - below
    shares[rows, lower - first] += below
    return slice(first, lower[-1] + 1), shares


def _neighbours(large: int, small: int) -> Neighbours:
    """Return between which two of `small` pixels each of `large` lies, and its share of the second.

    Pixels are areas, so that centres are at halves.
    """
    centres = (np.arange(large) + 0.5) * (small / large) - 0.5
    places = np.clip(centres, 0, small - 1)
    first = places.astype(np.intp)
    return first, np.minimum(first + 1, small - 1), (places - first).astype(np.float32)


@lru_cache(maxsize=4)
def _columns(large: int, small: int, channels: int) -> Neighbours:
    """Return the neighbours in rows of interleaved channels."""
    first, second, share = _neighbours(large, small)
    first, second = (
        (channels * place[:, None] + np.arange(channels)).ravel() for place in (first, second)
    )
    return first, second, np.repeat(share, channels)
