"""How dark the lines are that a cartoon draws along the photo's edges."""

import cv2
import numpy as np
import numpy.typing as npt

from toonbox.evaluation.luminance import gradient, luminance, require_alike
from toonbox.pixels import Uint8Array

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
