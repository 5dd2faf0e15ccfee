"""Guided upsampling: the network's small picture, carried over to the photo's full size."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from toonbox.errors import ShapeError
from toonbox.pixels import STRIP_PIXELS, FloatArray, Levels, PhotoArray, Rows

RADIUS = 1
EPS = 1e-3
CACHED_PIXELS = 1 << 15  # of the photo, worked on at once: small enough for the cache

Indices = npt.NDArray[np.intp]
Neighbours = tuple[Indices, Indices, FloatArray]


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


def upsample(photo: Rows, small: Levels, cartoon: Levels) -> Iterator[tuple[slice, PhotoArray]]:
    """Bring a cartoon to the size of its photo, with the photo's edges, strip by strip.

    Each pixel becomes slope * photo + offset, both fitted at the small size and enlarged
    bilinearly. The paper averages the offset as it does the slope, which blurs what the network
    has drawn and the photo has not, outlines first of all. Here it is cartoon - slope * small: no
    more work, and at the small size nothing of the cartoon is lost.

    Args:
        photo: (H, W, 3) of 8 or 16 bits, the guide at full size; read once, from top to bottom.
        small: (h, w, 3), the photo reduced, h <= H and w <= W, in levels [0, 255].
        cartoon: (h, w, 3), what the network made of it, in levels.
    Yields:
        Rows from top to bottom, and the result's values there, (rows, W, 3), with the bits of the
        photo.
    Raises:
        ShapeError: `small` and `cartoon` differ.
    Source:
        He & Sun 2015, but for the offset.
    """
    height, width = photo.shape[:2]
    highest = np.iinfo(photo.dtype).max
    columns = _channels(_neighbours(width, small.shape[1]))
    upper, _, below = _neighbours(height, len(small))
    # Where the rows begin that lie below each row of the small picture, and above the next.
    starts = np.searchsorted(upper, np.arange(len(small) + 1)).tolist()
    step, rows = (max(1, pixels // width) for pixels in (STRIP_PIXELS, CACHED_PIXELS))
    spare = np.empty((rows, 3 * width), np.float32)
    for top in range(0, len(small), step):
        lines = _lines(small, cartoon, slice(top, top + step + 1), columns, highest)
        for line in range(top, min(top + step, len(small))):
            pair = slice(line - top, line - top + 2)
            for first in range(starts[line], starts[line + 1], rows):
                strip = slice(first, min(first + rows, starts[line + 1]))
                levels = _between(lines, pair, below[strip])
                values = spare[: len(levels[0])]
                np.copyto(values, photo[strip].reshape(values.shape))  # faster than mixing types
                values *= levels[0]
                values += levels[1]
                # Halves were added to the offset: what remains is to cut off.
                np.clip(values, 0, highest + 0.5, out=values)
                yield strip, values.astype(photo.dtype).reshape(-1, width, 3)


def _lines(
    small: Levels, cartoon: Levels, wanted: slice, columns: Neighbours, highest: int
) -> tuple[FloatArray, FloatArray]:
    """Fit slope and offset in some rows of the small picture, and enlarge them sideways.

    Returns:
        Both (rows, 3 W); the offset in values of the photo, plus a half.
    """
    # A slope depends on this many rows above and below it.
    start = max(0, wanted.start - 2 * RADIUS)
    band = slice(start, wanted.stop + 2 * RADIUS)
    guide, target = (part[band] * np.float32(1 / 255) for part in (small, cartoon))
    slope = local_slope(guide, target)
    offset = (target - slope * guide) * np.float32(highest) + np.float32(0.5)
    kept = slice(wanted.start - start, wanted.stop - start)
    left, right, share = columns
    enlarged = []
    for model in (slope[kept], offset[kept]):
        flat = model.reshape(len(model), -1)
        line, other = flat.take(left, 1), flat.take(right, 1)
        other -= line
        other *= share
        line += other
        enlarged.append(line)
    return enlarged[0], enlarged[1]


def _between(
    lines: tuple[FloatArray, FloatArray], pair: slice, share: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Interpolate slope and offset between two lines, or take the last one."""
    weights = np.stack([1 - share, share], axis=1)
    slope, offset = (weights[:, : len(model[pair])] @ model[pair] for model in lines)
    return slope, offset


def _neighbours(large: int, small: int) -> Neighbours:
    """Say between which two of `small` pixels each of `large` lies, and its share of the second.

    Pixels are areas, so that centres are at halves.
    """
    centres = (np.arange(large) + 0.5) * (small / large) - 0.5
    places = np.clip(centres, 0, small - 1)
    first = places.astype(np.intp)
    return first, np.minimum(first + 1, small - 1), (places - first).astype(np.float32)


def _channels(neighbours: Neighbours) -> Neighbours:
    """Say the same of three channels, one after the other in each pixel."""
    first, second, share = neighbours
    first, second = ((3 * place[:, None] + np.arange(3)).ravel() for place in (first, second))
    return first, second, np.repeat(share, 3)
