"""Measures of a photo and its output without feature networks, and their means over photos."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from toonbox.learn.representations.structure import segment
from toonbox.pixels import FloatArray, Uint8Array

Measures = dict[str, float]  # keys of MEASURES
SMALLEST = 64  # smallest short side, pixels


def measure(photo: Uint8Array, output: Uint8Array) -> Measures:
    """Compute every measure of a photo and its output, (H, W, 3) each, at working resolution.

    Their sides have at least SMALLEST pixels.
    """
    return {name: each.of(photo, output) for name, each in MEASURES.items()}


def means(measures: Sequence[Measures]) -> Measures:
    """Average each measure over photos; a median would hide failures on a few of them."""
    return {name: float(np.mean([each[name] for each in measures])) for name in MEASURES}


def luminance(rgb: Uint8Array) -> FloatArray:
    """Return 0.299 R + 0.587 G + 0.114 B of (H, W, 3): (H, W) in [0, 255]."""
    levels: FloatArray = cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2GRAY)
    return levels


def gradient(levels: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the horizontal and vertical 3x3 Sobel gradient of (H, W), in levels per pixel."""
    across: FloatArray = cv2.Sobel(levels, cv2.CV_32F, 1, 0, scale=1 / 8)
    down: FloatArray = cv2.Sobel(levels, cv2.CV_32F, 0, 1, scale=1 / 8)
    return across, down


def steepness(levels: FloatArray) -> FloatArray:
    """Return the gradient magnitude of (H, W), in levels per pixel."""
    magnitude: FloatArray = cv2.magnitude(*gradient(levels))
    return magnitude


def edge_similarity(photo: Uint8Array, output: Uint8Array) -> float:
    """Return the SSIM of the luminance edge maps, in [-1, 1]; 1 for identical edges.

    The maps are Sobel magnitudes, in which a step from black to white is 255, the data range of
    Wang et al. 2004, eq. 13, K1 = 0.01, K2 = 0.03.
    """
    one, other = (
        torch.from_numpy(2 * steepness(luminance(rgb)))[None, None] for rgb in (photo, output)
    )
    return float(structural_similarity_index_measure(one, other, sigma=1.5, data_range=255.0))  # type: ignore[arg-type]


def colour_drift(photo: Uint8Array, output: Uint8Array) -> float:
    """Return the median CIE76 colour difference (delta E) of two blurred sRGB pictures.

    About 2.3 is just noticeable. The blur, sigma 8 pixels, excludes lines and texture.
    """
    one, other = (
        cv2.cvtColor(cv2.GaussianBlur(rgb.astype(np.float32) / 255, (0, 0), 8.0), cv2.COLOR_RGB2LAB)
        for rgb in (photo, output)
    )
    return float(np.median(np.sqrt(((one - other) ** 2).sum(axis=2))))


def colour_segments(rgb: Uint8Array) -> float:
    """Return the number of colour segments of (H, W, 3) per megapixel, at least 5 pixels wide.

    Narrower ones are outlines, or strips between two colours.
    """
    # OpenCV's erosion has no 32-bit integers; floats are exact up to 2^24 segments.
    labels = segment(rgb, scale=300.0, minimum_size=100).astype(np.float32)
    window = np.ones((5, 5), np.uint8)
    wide = cv2.erode(labels, window) == cv2.dilate(labels, window)
    return float(np.unique(labels[wide]).size / labels.size * 1e6)


def flat_share(rgb: Uint8Array) -> float:
    """Return the share of pixels with a luminance gradient below one level per pixel."""
    return float((steepness(luminance(rgb)) < 1).mean())


def interior_energy(photo: Uint8Array, output: Uint8Array) -> float:
    """Return the energy of an output's detail more than 3 pixels from any edge, in squared levels.

    The mean squared difference of luminance and its Gaussian blur (sigma 2). Edges are the steepest
    fifth of the photo's pixels after a Gaussian of sigma 1.
    """
    steep = steepness(cv2.GaussianBlur(luminance(photo), (0, 0), 1.0))
    edges = (steep >= np.quantile(steep, 0.8)) & (steep > 0)
    inside = cv2.dilate(edges.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
    levels = luminance(output)
    detail = levels - cv2.GaussianBlur(levels, (0, 0), 2.0)
    return float((detail[inside] ** 2).mean()) if inside.any() else 0.0


def outline_contrast(photo: Uint8Array, output: Uint8Array) -> float:
    """Return the mean depth of dark lines along the photo's strongest edges, in levels.

    Depth (the black top-hat, Serra 1982, chapter XII) is how much darker a line narrower than 7
    pixels is than the darker of its sides; the largest within 3 pixels counts. A mere step has 0.
    """
    edges = strongest_edges(photo)
    if not edges.any():
        return 0.0
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    depth = cv2.morphologyEx(luminance(output), cv2.MORPH_BLACKHAT, disc)
    return float(cv2.dilate(depth, disc)[edges].mean())


def strongest_edges(photo: Uint8Array) -> npt.NDArray[np.bool_]:
    """Mark the strongest edges of a photo, (H, W, 3) -> (H, W), after Canny 1986, through OpenCV.

    Edges are pixels where the magnitude of the luminance gradient, after a Gaussian of sigma 2,
    is above its 95th percentile and maximal along its direction.
    """
    levels = cv2.GaussianBlur(luminance(photo), (0, 0), 2.0)
    across, down = (np.rint(128 * part).astype(np.int16) for part in gradient(levels))
    strong = np.quantile(np.hypot(across.astype(np.float32), down), 0.95)
    marked: npt.NDArray[np.bool_] = cv2.Canny(across, down, strong, strong, L2gradient=True) > 0
    return marked


def clipped_share(photo: Uint8Array, output: Uint8Array) -> float:
    """Return the share of pixels with a channel at 0 or 255 in the output but not in the photo."""
    before, after = (((rgb == 0) | (rgb == 255)).any(axis=2) for rgb in (photo, output))
    return float((after & ~before).mean())


@dataclass(frozen=True)
class Measure:
    """A measure of a photo and its output, (H, W, 3) each, and its format."""

    of: Callable[[Uint8Array, Uint8Array], float]
    title: str
    help: str
    scale: float = 1
    places: int = 1

    def show(self, value: float) -> str:
        """Format a value."""
        return f"{value * self.scale:.{self.places}f}"


MEASURES = {
    "edge_similarity": Measure(
        edge_similarity, "edge SSIM", "similarity to the photo's luminance edges", 1, 3
    ),
    "colour_drift": Measure(
        colour_drift, "delta E", "median colour difference from the photo, both blurred"
    ),
    "colour_segments": Measure(
        lambda _, output: colour_segments(output), "segments", "colour segments per megapixel", 1, 0
    ),
    "flat_share": Measure(
        lambda _, output: flat_share(output), "flat %", "pixels with a gradient under 1 level", 100
    ),
    "interior_energy": Measure(
        interior_energy, "interior", "squared levels of detail away from the photo's edges", 1, 2
    ),
    "outline_contrast": Measure(
        outline_contrast, "outline", "depth in levels of dark lines along the strongest edges"
    ),
    "clipped_share": Measure(clipped_share, "clipped %", "pixels clipped by the style", 100, 2),
}
