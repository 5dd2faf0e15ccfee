"""How flat the areas of a picture are."""

import cv2
import numpy as np

from toonbox.evaluation.luminance import luminance, require_alike, steepness
from toonbox.pixels import Uint8Array
from toonbox.representations.structure import segment

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
