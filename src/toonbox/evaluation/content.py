"""How much of the photo is still there: its edges and its colours."""

import cv2
import numpy as np
import numpy.typing as npt

from toonbox.evaluation.luminance import luminance, require_alike, steepness
from toonbox.pixels import FloatArray, Uint8Array

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
