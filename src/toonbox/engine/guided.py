"""Guided upsampling: bring the network's small picture to the photo's full size."""

from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from toonbox.errors import ShapeError
from toonbox.parallel import shared_map
from toonbox.pixels import FloatArray, Levels, PhotoArray, Rows

WINDOW = 3  # pixels, its side
EPS = 1e-3 * 255**2  # squared levels; more would smooth more
JOB_PIXELS = 1 << 20  # of the photo: in smaller jobs, more rows would be fitted twice
CACHED_PIXELS = 1 << 16  # fitted at once: few for the cache, many for threads that take turns
CACHED_VALUES = 1 << 18  # interpolated at once, for the same reasons
MULTIPLICATIONS = 1 << 18  # in a product of matrices; OpenBLAS divides larger ones among threads

Indices = npt.NDArray[np.intp]
Places = npt.NDArray[np.float64]
Model = tuple[FloatArray, FloatArray]  # slope and offset


class Arithmetic(NamedTuple):
    """What `upsample` computes with: NumPy, or OpenCV, which takes a third of the time."""

    fit: Callable[[Levels, Levels], Model]
    widen: Callable[[FloatArray, int], FloatArray]  # (h, w, C) sideways, bilinearly: (h, W C)
    # slope * photo + offset, clipped, into the last; (h, W, C) all.
    apply: Callable[[PhotoArray | FloatArray, FloatArray, FloatArray, PhotoArray], None]
    half: float  # added to offsets, so that `apply` rounds


def box_sum(image: FloatArray) -> FloatArray:
    """Sum over windows, edges repeated: (H, W, C), alike."""
    height, width, channels = image.shape
    padded = np.empty((height, width + 2, channels), image.dtype)
    rows = padded[:, 1:-1]
    rows[:] = image
    rows[1:] += image[:-1]
    rows[:-1] += image[1:]
    rows[0] += image[0]
    rows[-1] += image[-1]
    padded[:, 0], padded[:, -1] = rows[:, 0], rows[:, -1]
    total: FloatArray = padded[:, :-2] + rows
    total += padded[:, 2:]
    return total


def fit(guide: Levels | FloatArray, target: Levels | FloatArray) -> Model:
    """Fit target = slope * guide + offset in the window around each pixel, channel by channel.

    The paper averages the offset as it does the slope, which blurs what the network has drawn and
    the photo has not, outlines first of all. Here it is target - slope * guide: no more work, and
    nothing of the target is lost.

    Args:
        guide, target: levels, (H, W, C).
    Returns:
        The slope, averaged over the windows that hold a pixel, and the offset: (H, W, C) both.
    Source:
        He & Sun 2015 (fast guided filter), algorithm 2 up to its upsampling.
    """
    guide, target = (image.astype(np.float32, copy=False) for image in (guide, target))
    # Sums instead of means, and arrays used again: it is memory that takes the time.
    count = np.float32(WINDOW**2)
    guides, targets = box_sum(guide), box_sum(target)
    covariance = box_sum(guide * target) * count
    variance = box_sum(np.square(guide)) * count
    covariance -= guides * targets
    variance -= np.square(guides)
    variance += count * count * np.float32(EPS)
    covariance /= variance
    slope = box_sum(covariance)
    slope /= count
    return slope, target - slope * guide


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


NUMPY = Arithmetic(fit, _widen, _apply, half=0.5)


@cache
def fastest_arithmetic() -> Arithmetic:
    """Return OpenCV's arithmetic, or NumPy's where OpenCV, which is optional, does not import."""
    try:
        import cv2
    except ImportError:  # not installed, or without a library of the system that it needs
        return NUMPY
    ones, depths = np.ones(WINDOW, np.float32), {np.uint8: cv2.CV_8U, np.uint16: cv2.CV_16U}

    def box(image: Levels | FloatArray, weights: FloatArray = ones) -> Any:
        # Quicker than OpenCV's boxFilter, which is made for large windows.
        return cv2.sepFilter2D(image, cv2.CV_32F, weights, ones, borderType=cv2.BORDER_REPLICATE)

    def multiply(left: PhotoArray | FloatArray, right: PhotoArray | FloatArray) -> Any:
        return cv2.multiply(left, right, dtype=cv2.CV_32F)

    def fit(guide: Levels | FloatArray, target: Levels | FloatArray) -> Model:
        guide = np.ascontiguousarray(guide)
        guides, targets = box(guide), box(target)
        covariance, variance = box(multiply(guide, target)), box(multiply(guide, guide))
        cv2.multiply(guides, targets, targets)
        cv2.multiply(guides, guides, guides)
        cv2.addWeighted(covariance, WINDOW**2, targets, -1, 0, covariance)
        cv2.addWeighted(variance, WINDOW**2, guides, -1, WINDOW**4 * EPS, variance)
        slope = box(cv2.divide(covariance, variance, covariance), ones / np.float32(WINDOW**2))
        return slope, cv2.subtract(target, multiply(slope, guide), dtype=cv2.CV_32F)

    def widen(model: FloatArray, width: int) -> FloatArray:
        widened: FloatArray = cv2.resize(model, (width, len(model)))
        return widened.reshape(len(model), -1)

    def apply(
        photo: PhotoArray | FloatArray, slope: FloatArray, offset: FloatArray, result: PhotoArray
    ) -> None:
        cv2.multiply(np.ascontiguousarray(photo), slope, slope, dtype=cv2.CV_32F)
        cv2.add(slope, offset, result, dtype=depths[result.dtype.type])

    return Arithmetic(fit, widen, apply, half=0.0)


def upsample(
    photo: Rows, small: Levels, cartoon: Levels, threads: int = 1, arithmetic: Arithmetic = NUMPY
) -> Iterator[tuple[slice, PhotoArray, PhotoArray]]:
    """Bring a cartoon to the size of its photo, with the photo's edges, strip by strip.

    Each pixel becomes slope * photo + offset, both fitted at the small size and enlarged
    bilinearly. A cartoon in black and white is guided by the photo's grey, so that no colour comes
    back.

    Args:
        photo: (H, W, 3) of 8 or 16 bits, the guide at full size; read once, from top to bottom.
        small: (h, w, 3), the photo reduced, h <= H and w <= W, in levels [0, 255].
        cartoon: (h, w, 3), what the network made of it, in levels.
        threads: strips at a time; with more than one, some are read ahead.
    Yields:
        Rows from top to bottom, the photo there, and the result there, both (rows, W, 3) with the
        bits of the photo.
    Raises:
        ShapeError: `small` and `cartoon` differ.
    Source:
        He & Sun 2015, but for the offset.
    """
    if small.shape != cartoon.shape:
        raise ShapeError(f"photo and cartoon differ: {small.shape} and {cartoon.shape}")
    height, width, channels = photo.shape
    highest = np.iinfo(photo.dtype).max
    grey = all((row == row[:, :1]).all() for row in cartoon)
    small = _grey(small) if grey else small
    places = _places(height, len(small))
    block = _block(len(small) / height, width * channels)
    at_once = max(1, CACHED_VALUES // (width * channels) // block) * block

    def enlarge(strip: tuple[slice, PhotoArray]) -> tuple[slice, PhotoArray, PhotoArray]:
        rows, own = strip
        result, within = np.empty(own.shape, own.dtype), places[rows]
        fitted = slice(int(within[0]), min(int(within[-1]) + 2, len(small)))
        slopes, offsets = (
            arithmetic.widen(model, width)
            for model in _lines(small, cartoon, fitted, highest, arithmetic)
        )
        lines, shares = _shares(within - fitted.start, len(slopes), block)
        for top in range(0, len(own), at_once):
            seen = own[top : top + at_once]
            blocks = slice(top // block, (top + at_once) // block)
            slope, offset = (
                (shares[blocks] @ model[lines[blocks]]).reshape(-1, width, channels)[: len(seen)]
                for model in (slopes, offsets)
            )
            guide = _grey(seen) if grey else seen
            arithmetic.apply(guide, slope, offset, result[top : top + at_once])
        return rows, own, result

    fitted_at_once = max(1, CACHED_PIXELS // small.shape[1]) * height // len(small)
    tall = max(1, min(JOB_PIXELS // width, -(-height // threads), fitted_at_once))
    parts = (slice(top, min(top + tall, height)) for top in range(0, height, tall))
    strips = ((rows, photo[rows]) for rows in parts)
    return shared_map(strips, enlarge, threads)


def _grey(values: PhotoArray | Levels) -> FloatArray:
    """Replace the channels of (H, W, 3) by their mean, as floats."""
    mean = values.mean(axis=2, keepdims=True, dtype=np.float32)
    return np.broadcast_to(mean, values.shape)


def _lines(
    small: Levels, cartoon: Levels, wanted: slice, highest: int, arithmetic: Arithmetic
) -> Model:
    """Fit slope and offset, in values of the photo, in wanted rows of the small picture."""
    around = WINDOW - 1  # rows above and below on which a slope depends
    start = max(0, wanted.start - around)
    band = slice(start, wanted.stop + around)
    slope, offset = arithmetic.fit(small[band], cartoon[band])
    offset *= np.float32(highest / 255)
    offset += np.float32(arithmetic.half)
    kept = slice(wanted.start - start, wanted.stop - start)
    return slope[kept], offset[kept]


def _block(lines_per_row: float, values: int) -> int:
    """Return how many rows of so many values to interpolate in one product of matrices."""
    # n rows lie between about n * lines_per_row + 2 lines; all three sides are multiplied.
    root = np.sqrt(1 + lines_per_row * MULTIPLICATIONS / values)
    return max(1, int((root - 1) / lines_per_row))


def _shares(places: Places, count: int, block: int) -> tuple[Indices, FloatArray]:
    """Return the lines between which rows lie, and their weights in each row.

    Args:
        places: of the rows, among `count` lines.
        block: rows.
    Returns:
        Of blocks of rows, the last filled up: (blocks, lines) and (blocks, block, lines).
    """
    blocks = np.pad(places, (0, -len(places) % block), mode="edge").reshape(-1, block)
    first = np.floor(blocks[:, :1])
    lines = first + np.arange((blocks[:, -1:] - first).max() // 1 + 2)
    shares = np.maximum(0, 1 - np.abs(blocks[..., None] - lines[:, None]))
    return np.minimum(lines, count - 1).astype(np.intp), shares.astype(np.float32)


def _places(large: int, small: int) -> Places:
    """Return where among `small` pixels each of `large` lies: areas, with centres at halves."""
    centres = (np.arange(large) + 0.5) * (small / large) - 0.5
    places: Places = np.clip(centres, 0, small - 1)
    return places


@lru_cache(maxsize=4)
def _columns(large: int, small: int, channels: int) -> tuple[Indices, Indices, FloatArray]:
    """Return between which values each of an enlarged row lies, and its share of the second."""
    places = _places(large, small)
    first = places.astype(np.intp)
    second = np.minimum(first + 1, small - 1)
    first, second = (
        (channels * place[:, None] + np.arange(channels)).ravel() for place in (first, second)
    )
    return first, second, np.repeat((places % 1).astype(np.float32), channels)
