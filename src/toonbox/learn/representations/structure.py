"""The structure representation, segments of uniform colour, computed on the CPU."""

import heapq

import cv2
import numpy as np
import numpy.typing as npt

from toonbox.errors import ShapeError
from toonbox.pixels import Uint8Array

Labels = npt.NDArray[np.int32]
Features = npt.NDArray[np.float64]

SEGMENTS = 200
HISTOGRAM_BINS = 25
MEAN_BELOW = 20.0
MEDIAN_FROM = 40.0


def segment(
    rgb: Uint8Array, *, sigma: float = 0.5, scale: float = 40.0, minimum_size: int = 12
) -> Labels:
    """Segment (H, W, 3) into labels (H, W), 0 ... n - 1 (Felzenszwalb & Huttenlocher 2004).

    `sigma` pixels smooth beforehand, a larger `scale`, the paper's k, gives larger segments, and
    those of less than `minimum_size` pixels are merged with a neighbour.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ShapeError(f"expected (H, W, 3), got {rgb.shape}")
    graph = cv2.ximgproc.segmentation.createGraphSegmentation(sigma, scale, minimum_size)
    labels: Labels = graph.processImage(np.ascontiguousarray(rgb)).astype(np.int32)
    return labels


def merge_segments(rgb: Uint8Array, labels: Labels, target: int = SEGMENTS) -> Labels:
    """Merge the most similar adjacent segments of labels (H, W) until `target` remain.

    Similarity is the intersection of the colour histograms, plus the share of the picture outside
    both segments (Uijlings et al. 2013, selective search, section 3.2, colour and size terms).
    """
    count = int(labels.max()) + 1
    if count <= target:
        return labels
    sizes = np.bincount(labels.ravel(), minlength=count).astype(np.float64)
    histograms = _colour_histograms(rgb, labels, count) / sizes[:, None]
    neighbours = _neighbours(labels, count)

    def distance(one: int, other: int) -> float:
        shared = float(np.minimum(histograms[one], histograms[other]).sum())
        return float(sizes[one] + sizes[other]) / labels.size - shared

    # A queued pair is stale if the version of either segment has changed.
    version = [0] * count
    queue = [(distance(a, b), a, b, 0, 0) for a in range(count) for b in neighbours[a] if a < b]
    heapq.heapify(queue)
    merged_into = np.arange(count)
    remaining = count
    while remaining > target and queue:
        _, a, b, version_a, version_b = heapq.heappop(queue)
        if (version[a], version[b]) != (version_a, version_b):
            continue
        size = sizes[a] + sizes[b]
        merged = histograms[a] * sizes[a] + histograms[b] * sizes[b]
        histograms[a] = merged / size
        sizes[a] = size
        merged_into[b] = a
        version[a] += 1
        version[b] = -1
        remaining -= 1
        for other in neighbours[b]:
            neighbours[other].discard(b)
            neighbours[other].add(a)
        neighbours[a] = (neighbours[a] | neighbours[b]) - {a, b}
        for other in neighbours[a]:
            heapq.heappush(queue, (distance(a, other), a, other, version[a], version[other]))
    return _relabel(labels, merged_into)


def _colour_histograms(rgb: Uint8Array, labels: Labels, count: int) -> Features:
    """Count colours per segment: (count, 3 * HISTOGRAM_BINS), each pixel adding 1 in total."""
    bins = rgb.reshape(-1, 3).astype(np.int64) * HISTOGRAM_BINS // 256
    channel = np.arange(3) * HISTOGRAM_BINS
    cells = labels.reshape(-1, 1).astype(np.int64) * (3 * HISTOGRAM_BINS) + channel + bins
    counts = np.bincount(cells.ravel(), minlength=count * 3 * HISTOGRAM_BINS)
    return counts.reshape(count, 3 * HISTOGRAM_BINS) / 3.0


def _neighbours(labels: Labels, count: int) -> list[set[int]]:
    """Return the 4-connected neighbours of each segment."""
    sides = [(labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])]
    pairs = np.concatenate([np.stack([a[a != b], b[a != b]], axis=1) for a, b in sides])
    neighbours: list[set[int]] = [set() for _ in range(count)]
    for a, b in np.unique(pairs, axis=0).tolist():
        neighbours[a].add(b)
        neighbours[b].add(a)
    return neighbours


def _relabel(labels: Labels, merged_into: npt.NDArray[np.int64]) -> Labels:
    """Replace labels with those of the segments they were merged into, renumbered from 0."""
    while not np.array_equal(merged_into, merged_into[merged_into]):
        merged_into = merged_into[merged_into]
    _, compact = np.unique(merged_into, return_inverse=True)
    return compact.astype(np.int32)[labels]


def adaptive_colouring(rgb: Uint8Array, labels: Labels, gamma: float = 1.0) -> Uint8Array:
    """Fill each segment of (H, W, 3), by labels (H, W), with its mean, its median, or half of each.

    With s the standard deviation of the segment's 8-bit values from the mean of their channel: the
    mean for s < 20, the average for 20 <= s < 40, the median for s >= 40. The exponent `gamma` on
    colours in [0, 1] darkens if above 1.

    Source: Wang & Yu 2020, eq. 2; the thresholds are on the 8-bit scale.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or labels.shape != rgb.shape[:2]:
        raise ShapeError(f"expected (H, W, 3) and (H, W), got {rgb.shape} and {labels.shape}")
    flat = labels.ravel().astype(np.int64)
    sizes = np.bincount(flat)
    starts = np.cumsum(sizes) - sizes
    low, high = (np.clip(starts + n // 2, 0, len(flat) - 1) for n in (sizes - 1, sizes))
    safe = np.maximum(sizes, 1)
    means, variances, medians = [], [], []
    for values in rgb.reshape(-1, 3).T.astype(np.int64):
        means.append(np.bincount(flat, values) / safe)
        variances.append(np.bincount(flat, values**2) / safe - means[-1] ** 2)
        ordered = np.sort(flat * 256 + values) % 256  # by segment, then by value
        medians.append((ordered[low] + ordered[high]) / 2)
    mean, median = np.stack(means, axis=1), np.stack(medians, axis=1)
    deviation = np.sqrt(np.maximum(variances, 0).mean(axis=0))[:, None]
    half = (mean + median) / 2
    colours = np.where(
        deviation < MEAN_BELOW, mean, np.where(deviation < MEDIAN_FROM, half, median)
    )
    if gamma != 1.0:
        colours = 255 * (colours / 255) ** gamma
    filled: Uint8Array = np.rint(colours).astype(np.uint8)[labels]
    return filled


def structure(rgb: Uint8Array, *, segments: int = SEGMENTS, gamma: float = 1.0) -> Uint8Array:
    """Return the structure representation of (H, W, 3) with at most `segments` segments."""
    return adaptive_colouring(rgb, merge_segments(rgb, segment(rgb), segments), gamma)
