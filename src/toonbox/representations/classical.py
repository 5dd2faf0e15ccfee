"""A classical cartoon of a photo, made from its own representations: a first thing to learn."""

import cv2
import numpy as np
import numpy.typing as npt

from toonbox.pixels import Uint8Array
from toonbox.representations.structure import adaptive_colouring, merge_segments, segment

Float = npt.NDArray[np.float32]

FLATNESS = 0.85
SHARPNESS = 0.7
SATURATION = 1.2
LINE_SIGMA = 1.0
LINE_GAIN = 20.0
LINE_DEAD_ZONE = 0.012
LINE_MINIMUM = 10


def classical_cartoon(rgb: Uint8Array, *, segments: int = 100, lines: float = 0.85) -> Uint8Array:
    """Draw a photo as flat areas with dark lines.

    Args:
        rgb: (H, W, 3).
        segments: colour areas in the picture, at most.
        lines: 0 draws none, 1 draws the strongest black.
    Returns:
        (H, W, 3): two bilateral filters, their result filled segment by segment with one colour
        (adaptive colouring), edges re-aligned with the smooth photo and sharpened, a little
        saturation, and dark lines where luminance is darker than its surroundings.
    """
    smooth = _smoothed(_smoothed(rgb))
    fine = segment(smooth, sigma=0.5, scale=40.0, minimum_size=14)
    filled = adaptive_colouring(smooth, merge_segments(smooth, fine, segments, "ward"))
    guide = smooth.astype(np.float32) / 255
    flat = np.float32(FLATNESS / 255) * filled + np.float32(1 - FLATNESS) * guide
    aligned: Float = cv2.ximgproc.guidedFilter(guide, flat, 2, 2e-5)
    crisp = aligned + SHARPNESS * (aligned - cv2.GaussianBlur(aligned, (0, 0), 1.2))
    drawn = _saturate(np.clip(crisp, 0, 1)) * (1 - lines * _line_map(smooth))[..., None]
    result: Uint8Array = np.clip(np.rint(drawn * 255), 0, 255).astype(np.uint8)
    return result


def _smoothed(rgb: Uint8Array) -> Uint8Array:
    smooth: Uint8Array = cv2.bilateralFilter(rgb, 7, 24, 3)
    return smooth


def _saturate(rgb: Float) -> Float:
    """Move colours away from their own luminance."""
    luminance = rgb @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return luminance[..., None] + SATURATION * (rgb - luminance[..., None])


def _line_map(rgb: Uint8Array) -> Float:
    """Give (H, W) in [0, 1], 1 on dark lines: a clipped difference of Gaussians of luminance.

    What is not connected over LINE_MINIMUM pixels is grain, not a line.
    """
    luminance = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    fine = cv2.GaussianBlur(luminance, (0, 0), LINE_SIGMA)
    coarse = cv2.GaussianBlur(luminance, (0, 0), 2.0 * LINE_SIGMA)
    strength = np.clip((coarse - fine - LINE_DEAD_ZONE) * LINE_GAIN, 0, 1)
    _, labels, facts, _ = cv2.connectedComponentsWithStats((strength > 0).astype(np.uint8))
    extent = np.maximum(facts[:, cv2.CC_STAT_WIDTH], facts[:, cv2.CC_STAT_HEIGHT])
    long_enough = np.clip((extent - LINE_MINIMUM) / LINE_MINIMUM, 0, 1).astype(np.float32)
    smooth_step: Float = strength * strength * (3 - 2 * strength) * long_enough[labels]
    return smooth_step
