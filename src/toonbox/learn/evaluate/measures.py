"""All measures of one photo and its cartoon that need no network, and their means."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import numpy.typing as npt

from toonbox.errors import ShapeError
from toonbox.learn.representations.structure import segment
from toonbox.pixels import FloatArray, Uint8Array


def luminance(rgb: Uint8Array) -> FloatArray:
    """Give 0.299 R + 0.587 G + 0.114 B of (H, W, 3): (H, W) in [0, 255]."""
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ShapeError(f"expected (H, W, 3), got {rgb.shape}")
    levels: FloatArray = cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2GRAY)
    return levels


def gradient(levels: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give the 3x3 Sobel gradient to the right and down, in levels a pixel: a ramp gives its slope.

    Args:
        levels: (H, W).
    Returns:
        Two (H, W); a step between two pixels gives half its height on either side.
    """
    across: FloatArray = cv2.Sobel(levels, cv2.CV_32F, 1, 0, scale=1 / 8)
    down: FloatArray = cv2.Sobel(levels, cv2.CV_32F, 0, 1, scale=1 / 8)
    return across, down


def steepness(levels: FloatArray) -> FloatArray:
    """Give the magnitude of `gradient`: (H, W), levels a pixel."""
    magnitude: FloatArray = cv2.magnitude(*gradient(levels))
    return magnitude


def require_alike(photo: Uint8Array, output: Uint8Array) -> None:
    """Refuse two pictures of different shapes.

    Raises:
        ShapeError: they differ.
    """
    if photo.shape != output.shape:
        raise ShapeError(f"expected two pictures alike, got {photo.shape} and {output.shape}")


Spectrum = npt.NDArray[np.float64]

PATCH = 128
SMALLEST = 64
PERIOD = 8  # pixels: three stages of stride 2
NEARBY = (-4, -3, 3, 4)  # bins; those next to a frequency hold what the window spreads


def checkerboard_energy(photo: Uint8Array, output: Uint8Array) -> float:
    """Measure patterns that repeat with a stride of 2, 4 or 8 pixels, beyond the photo's own.

    Args:
        photo: (H, W, 3), at least 64 x 64.
        output: the same shape.
    Returns:
        Squared levels, at least 0: the luminance energy at all frequencies (i/8, j/8) a pixel but
        the mean, above what their neighbourhood in the spectrum leads to expect, less the
        photo's. A checkerboard that adds and takes one level counts 1; spectra are averaged
        over half-overlapping patches of 128 pixels (less in smaller pictures) under Hann windows.
    Raises:
        ShapeError: the shapes differ or a side is under 64 pixels.
    Source:
        The artefact: Odena et al. 2016; the averaged spectrum: Welch 1967.
    """
    require_alike(photo, output)
    own, added = (_stride_energy(luminance(rgb)) for rgb in (photo, output))
    return max(0.0, added - max(0.0, own))


def _stride_energy(levels: FloatArray) -> float:
    """Sum the energy at stride frequencies above that of their neighbourhood, squared levels."""
    power = _spectrum(levels)
    size = len(power)
    peaks = np.arange(0, size, size // PERIOD)
    spread = (-1, 0, 1)  # a Hann window spreads a pure tone over exactly these bins
    energy = sum(
        power[np.ix_((peaks + y) % size, (peaks + x) % size)] for y in spread for x in spread
    )
    # Averages of logarithms: a spectrum falls like a power of frequency, straight on that scale.
    # Along the row and along the column, since natural pictures have ridges on both axes.
    logarithm = np.log(power + 1e-12)
    beside = np.mean([logarithm[np.ix_(peaks, (peaks + d) % size)] for d in NEARBY], axis=0)
    above = np.mean([logarithm[np.ix_((peaks + d) % size, peaks)] for d in NEARBY], axis=0)
    excess = energy - len(spread) ** 2 * np.exp(np.maximum(beside, above))
    excess[0, 0] = 0
    return float(excess.sum())


def _spectrum(levels: FloatArray) -> Spectrum:
    """Average the power spectra of patches; each sums to the patch's windowed variance."""
    short = min(levels.shape)
    if short < SMALLEST:
        raise ShapeError(f"expected at least {SMALLEST} x {SMALLEST}, got {levels.shape}")
    size = min(PATCH, short // PERIOD * PERIOD)
    window = np.outer(*[np.hanning(size + 1)[:-1]] * 2)
    patches = np.lib.stride_tricks.sliding_window_view(levels, (size, size))
    total = np.zeros((size, size))
    rows, columns = (range(0, side - size + 1, size // 2) for side in levels.shape)
    for top in rows:
        for left in columns:
            patch = patches[top, left].astype(np.float64)
            total += np.abs(np.fft.fft2((patch - patch.mean()) * window)) ** 2
    average: Spectrum = total / (len(rows) * len(columns) * size**2 * (window**2).sum())
    return average


def clipped_share(photo: Uint8Array, output: Uint8Array) -> float:
    """Give the share of pixels, in [0, 1], that the output clips and the photo does not.

    Args:
        photo: (H, W, 3).
        output: the same shape; a pixel is clipped if one of its channels is 0 or 255.
    Raises:
        ShapeError: the shapes differ.
    """
    require_alike(photo, output)
    before, after = (((rgb == 0) | (rgb == 255)).any(axis=2) for rgb in (photo, output))
    return float((after & ~before).mean())


WINDOW, WINDOW_SIGMA = 11, 1.5
DRIFT_SIGMA = 8.0


def edge_similarity(photo: Uint8Array, output: Uint8Array) -> float:
    """Compare where edges are: SSIM of the two luminance edge maps.

    Args:
        photo: (H, W, 3).
        output: the same shape.
    Returns:
        In [-1, 1]; 1 for the same edges. The maps are Sobel magnitudes, scaled so that a step from
        black to white reaches 255, which is the data range; the window is an 11x11 Gaussian of
        sigma 1.5, mirrored at the border.
    Raises:
        ShapeError: the shapes differ.
    Source:
        Wang et al. 2004, eq. 13, K1 = 0.01, K2 = 0.03.
    """
    require_alike(photo, output)
    one, other = (2 * steepness(luminance(rgb)) for rgb in (photo, output))
    return float(_ssim(one, other, data_range=255.0).mean())


def _ssim(one: FloatArray, other: FloatArray, data_range: float) -> npt.NDArray[np.float64]:
    """Give the similarity at every pixel, (H, W)."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_a, mean_b = _windowed(a), _windowed(b)
    variances = _windowed(a * a) - mean_a**2 + _windowed(b * b) - mean_b**2
    covariance = _windowed(a * b) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return likeness / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))


def _windowed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    mean: npt.NDArray[np.float64] = cv2.GaussianBlur(values, (WINDOW, WINDOW), WINDOW_SIGMA)
    return mean


def colour_drift(photo: Uint8Array, output: Uint8Array) -> float:
    """Measure how far colours moved: the median CIE76 difference of the two blurred pictures.

    Args:
        photo: (H, W, 3), sRGB.
        output: the same shape.
    Returns:
        Delta E, at least 0; about 2.3 can just be seen. The blur, a Gaussian of sigma 8 pixels,
        leaves lines and flattened texture out.
    Raises:
        ShapeError: the shapes differ.
    """
    require_alike(photo, output)
    difference = _blurred_lab(photo) - _blurred_lab(output)
    return float(np.median(np.sqrt((difference**2).sum(axis=2))))


def _blurred_lab(rgb: Uint8Array) -> FloatArray:
    """Blur, then give CIE Lab (D65), (H, W, 3)."""
    blurred = cv2.GaussianBlur(rgb.astype(np.float32) / 255, (0, 0), DRIFT_SIGMA)
    lab: FloatArray = cv2.cvtColor(blurred, cv2.COLOR_RGB2LAB)
    return lab


NARROWEST = 5  # pixels
FLAT_BELOW = 1.0  # levels a pixel
CALM_SHARE = 0.8
EDGE_DISTANCE = 3
DETAIL_SIGMA = 2.0


def colour_segments(rgb: Uint8Array) -> float:
    """Count the colour segments of a picture, per million pixels.

    Args:
        rgb: (H, W, 3).
    Returns:
        Segments of graph-based segmentation (sigma 0.5, k = 300, at least 100 pixels each) per
        megapixel, so that pictures of different sizes compare. Those that are nowhere 5 pixels
        wide do not count: they are outlines, or the strips between two colours.
    Source:
        Felzenszwalb & Huttenlocher 2004.
    """
    # Exact up to 2^24 segments; OpenCV's erosion knows no 32-bit integers.
    labels = segment(rgb, sigma=0.5, scale=300.0, minimum_size=100).astype(np.float32)
    window = np.ones((NARROWEST, NARROWEST), np.uint8)
    within = cv2.erode(labels, window) == cv2.dilate(labels, window)
    return float(np.unique(labels[within]).size / labels.size * 1e6)


def flat_share(rgb: Uint8Array) -> float:
    """Give the share of pixels, in [0, 1], where luminance changes by less than 1 level a pixel.

    Args:
        rgb: (H, W, 3).
    """
    return float((steepness(luminance(rgb)) < FLAT_BELOW).mean())


def interior_energy(photo: Uint8Array, output: Uint8Array) -> float:
    """Measure the fine detail of an output inside regions, away from the photo's edges.

    Where inside is, is decided by the photo alone, so that all outputs of one photo compare.

    Args:
        photo: (H, W, 3); its edges are the steepest fifth of its pixels, after a Gaussian of
            sigma 1.
        output: the same shape.
    Returns:
        Squared levels: the mean squared difference of luminance and its Gaussian blur (sigma 2)
        over the pixels that are more than 3 pixels away from every edge; 0 if there are none.
    Raises:
        ShapeError: the shapes differ.
    """
    require_alike(photo, output)
    steep = steepness(cv2.GaussianBlur(luminance(photo), (0, 0), 1.0))
    edges = (steep >= np.quantile(steep, CALM_SHARE)) & (steep > 0)
    inside = (
        cv2.dilate(edges.astype(np.uint8), np.ones((2 * EDGE_DISTANCE + 1,) * 2, np.uint8)) == 0
    )
    levels = luminance(output)
    detail = levels - cv2.GaussianBlur(levels, (0, 0), DETAIL_SIGMA)
    return float((detail[inside] ** 2).mean()) if inside.any() else 0.0


STRONGEST = 0.95
LINE_WINDOW = 7
EDGE_SIGMA = 2.0
REACH = 3
# Offsets (down, right) to the neighbour ahead for a gradient that points right, down right, down
# and down left.
AHEAD = ((0, 1), (1, 1), (1, 0), (1, -1))


def outline_contrast(photo: Uint8Array, output: Uint8Array) -> float:
    """Measure how deep dark lines lie along the photo's strongest edges.

    Args:
        photo: (H, W, 3).
        output: the same shape.
    Returns:
        Levels in [0, 255]: by how much lines narrower than 7 pixels are darker than the darker of
        their two sides (morphological closing of luminance less luminance), the largest within 3
        pixels of each of `strongest_edges`, averaged over those. A step without a line gives 0,
        and so does a photo without edges.
    Raises:
        ShapeError: the shapes differ.
    Source:
        The black top-hat: Serra 1982, chapter XII.
    """
    require_alike(photo, output)
    edges = strongest_edges(photo)
    if not edges.any():
        return 0.0
    depth = cv2.morphologyEx(luminance(output), cv2.MORPH_BLACKHAT, _disc(LINE_WINDOW))
    return float(cv2.dilate(depth, _disc(2 * REACH + 1))[edges].mean())


def strongest_edges(photo: Uint8Array) -> npt.NDArray[np.bool_]:
    """Mark the ridges of the steepest twentieth of a photo.

    Args:
        photo: (H, W, 3).
    Returns:
        (H, W), true where the luminance gradient, after a Gaussian of sigma 2 that leaves texture
        out, is at least its 95th percentile and no smaller than at the two neighbours along its
        direction (non-maximum suppression, directions rounded to eighths of a turn).
    """
    across, down = gradient(cv2.GaussianBlur(luminance(photo), (0, 0), EDGE_SIGMA))
    steep = np.hypot(across, down)
    direction = np.rint(np.arctan2(down, across) / (np.pi / 4)).astype(int) % 4
    ridge = np.zeros(steep.shape, dtype=bool)
    padded = np.pad(steep, 1)
    height, width = steep.shape
    for index, (y, x) in enumerate(AHEAD):
        ahead = padded[1 + y : 1 + y + height, 1 + x : 1 + x + width]
        behind = padded[1 - y : 1 - y + height, 1 - x : 1 - x + width]
        ridge |= (direction == index) & (steep >= ahead) & (steep >= behind)
    marked: npt.NDArray[np.bool_] = ridge & (steep > 0) & (steep >= np.quantile(steep, STRONGEST))
    return marked


def _disc(diameter: int) -> Uint8Array:
    disc: Uint8Array = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    return disc


@dataclass(frozen=True)
class Measures:
    """The measures of one output, each by the function of its name.

    Attributes:
        edge_similarity: SSIM of edge maps; 1 is the photo's.
        colour_drift: median delta E.
        colour_segments: per megapixel.
        flat_share: of pixels, in [0, 1].
        interior_energy: squared levels of 255.
        outline_contrast: levels of 255.
        checkerboard_energy: squared levels of 255.
        clipped_share: of pixels, in [0, 1].
    """

    edge_similarity: float
    colour_drift: float
    colour_segments: float
    flat_share: float
    interior_energy: float
    outline_contrast: float
    checkerboard_energy: float
    clipped_share: float


def measure(photo: Uint8Array, output: Uint8Array) -> Measures:
    """Take every measure.

    Args:
        photo: (H, W, 3), at least 64 x 64, at the size at which the network worked.
        output: the same shape.
    Raises:
        ShapeError: the shapes differ or are too small.
    """
    return Measures(
        edge_similarity=edge_similarity(photo, output),
        colour_drift=colour_drift(photo, output),
        colour_segments=colour_segments(output),
        flat_share=flat_share(output),
        interior_energy=interior_energy(photo, output),
        outline_contrast=outline_contrast(photo, output),
        checkerboard_energy=checkerboard_energy(photo, output),
        clipped_share=clipped_share(photo, output),
    )


def means(measures: Sequence[Measures]) -> Measures:
    """Average each measure over pictures; medians would hide what goes wrong in a few of them."""
    values = [asdict(each) for each in measures]
    return Measures(**{name: float(np.mean([v[name] for v in values])) for name in values[0]})
