"""Luminance and its gradient, on which most measures stand."""

import cv2
import numpy as np

from toonbox.errors import ShapeError
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
