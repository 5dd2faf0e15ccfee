"""Guided upsampling: bring the network's small picture to the photo's full size."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from toonbox.errors import ShapeError
from toonbox.pixels import STRIP_PIXELS, FloatArray, Levels, PhotoArray, Rows

RADIUS = 1
EPS = 1e-3
CACHED_PIXELS = 1 << 15  # worked on at once: small enough for the cache
ROWS = 8  # of the photo, at most: with more, BLAS would take threads of its own

Indices = npt.NDArray[np.intp]
Neighbours = tuple[Indices, Indices, FloatArray]


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


def upsample(photo: Rows, small: Levels, cartoon: Levels) -> Iterator[tuple[slice, PhotoArray]]:
    """Bring a cartoon to the size of its photo, with the photo's edges, strip by strip.

    Each pixel becomes slope * photo + offset, both fitted at the small size and enlarged
    bilinearly. The paper averages the offset as it does the slope, which blurs what the network
    has drawn and the photo has not, outlines first of all. Here it is cartoon - slope * small: no
    more work, and at the small size nothing of the cartoon is lost. A cartoon in black and white is
    guided by the photo's grey, so that no colour comes back.

    Args:
        photo: (H, W, C) of 8 or 16 bits, the guide at full size; read once, from top to bottom. C
            is 3, or 1 for brightness alone.
        small: (h, w, C), the photo reduced, h <= H and w <= W, in levels [0, 255].
        cartoon: (h, w, C), what the network made of it, in levels.
    Yields:
        Rows from top to bottom, and the result's values there, (rows, W, C), with the bits of the
        photo.
    Raises:
        ShapeError: `small` and `cartoon` differ.
    Source:
        He & Sun 2015, but for the offset.
    """
    height, width, channels = photo.shape
    highest = np.iinfo(photo.dtype).max
    grey = channels > 1 and bool((cartoon == cartoon[..., :1]).all())
    small = _grey(small) if grey else small
    columns = _channels(_neighbours(width, small.shape[1]), channels)
    upper, lower, below = _neighbours(height, len(small))
    # The model is fitted in so many rows at once, and applied to fewer, as they are larger.
    lines = max(1, min(STRIP_PIXELS // width, CACHED_PIXELS // small.shape[1]))
    step, rows = max(1, lines * height // len(small)), max(1, min(ROWS, CACHED_PIXELS // width))
    for top in range(0, height, step):
        bottom = min(top + step, height)
        start = upper[top]
        models = _lines(small, cartoon, slice(start, lower[bottom - 1] + 1), columns, highest)
        for first in range(top, bottom, rows):
            strip = slice(first, min(first + rows, bottom))
            between = upper[strip] - start, lower[strip] - start, below[strip]
            slope, offset = (_between(model, between) for model in models)
            guide = _grey(photo[strip]) if grey else photo[strip]
            values = guide.reshape(slope.shape).astype(np.float32)
            values *= slope
            values += offset
            # Halves were added to the offset: what remains is to cut off.
            np.clip(values, 0, highest + 0.5, out=values)
            yield strip, values.astype(photo.dtype).reshape(-1, width, channels)


def _grey(values: PhotoArray | Levels) -> FloatArray:
    """Replace the channels of (H, W, 3) by their mean, as floats."""
    mean = values.mean(axis=2, keepdims=True, dtype=np.float32)
    return np.broadcast_to(mean, values.shape)


def _lines(
    small: Levels, cartoon: Levels, wanted: slice, columns: Neighbours, highest: int
) -> tuple[FloatArray, FloatArray]:
    """Fit slope and offset in some rows of the small picture, and enlarge them sideways.

    Returns:
        Both (rows, W C); the offset in values of the photo, plus a half.
    """
    # A slope depends on this many rows above and below it.
    start = max(0, wanted.start - 2 * RADIUS)
    band = slice(start, wanted.stop + 2 * RADIUS)
    guide, target = (part[band] * np.float32(1 / 255) for part in (small, cartoon))
    slope = local_slope(guide, target)
    offset = (target - slope * guide) * np.float32(highest) + np.float32(0.5)
    kept = slice(wanted.start - start, wanted.stop - start)
    slope, offset = (_across(model[kept], columns) for model in (slope, offset))
    return slope, offset


def _across(model: FloatArray, columns: Neighbours) -> FloatArray:
    """Enlarge (rows, w, C) sideways: (rows, W C)."""
    left, right, share = columns
    flat = model.reshape(len(model), -1)
    enlarged, other = flat.take(left, 1), flat.take(right, 1)
    other -= enlarged
    other *= share
    enlarged += other
    return enlarged


def _between(lines: FloatArray, rows: Neighbours) -> FloatArray:
    """Interpolate between lines, (lines, W C), as a product of matrices: (rows, W C)."""
    upper, lower, share = rows
    first, places = upper[0], np.arange(len(share))
    weights = np.zeros((len(share), lower[-1] + 1 - first), np.float32)
    weights[places, upper - first] = 1 - share
    weights[places, lower - first] += share
    return weights @ lines[first : lower[-1] + 1]


def _neighbours(large: int, small: int) -> Neighbours:
    """Return between which two of `small` pixels each of `large` lies, and its share of the second.

    Pixels are areas, so that centres are at halves.
    """
    centres = (np.arange(large) + 0.5) * (small / large) - 0.5
    places = np.clip(centres, 0, small - 1)
    first = places.astype(np.intp)
    return first, np.minimum(first + 1, small - 1), (places - first).astype(np.float32)


def _channels(neighbours: Neighbours, count: int) -> Neighbours:
    """Return the same for interleaved channels."""
    first, second, share = neighbours
    first, second = (
        (count * place[:, None] + np.arange(count)).ravel() for place in (first, second)
    )
    return first, second, np.repeat(share, count)
