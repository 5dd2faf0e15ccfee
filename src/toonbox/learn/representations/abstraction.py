"""Surface: a photo as smooth shapes with hard edges, made by filters that follow its flow."""

import cv2
import numpy as np

from toonbox.learn.representations.flow import LUMINANCE, Float, Flow, across, along, beside

SHOCK_SIGMA = 1.5
SHOCK_THRESHOLD = 0.002


def abstract(image: Float, step: Float, brush: float = 3.5, tolerance: float = 0.1) -> Float:
    """Do one round of abstraction; more rounds make larger and plainer shapes.

    Args:
        image: (H, W, 3) in [0, 1].
        step: (H, W), pixels: how fine the filters are at each pixel, 1 as designed.
        brush: standard deviation of the smoothing along edges, steps.
        tolerance: of colours that belong together, in [0, 1].
    Returns:
        (H, W, 3).
    Source:
        Kyprianidis & Kang 2011 (smoothing along the flow and shock filtering in turn); Kang & Lee
        2008 (shape-simplifying abstraction).
    """
    flow = Flow.of(image, 1.3)
    image = across(image, flow, 2.0, step, 0.6 * tolerance)
    image = along(image, flow, brush, step, 2 * tolerance)
    return shock(image, Flow.of(image, 1.0), step)


def shock(image: Float, flow: Flow, step: Float) -> Float:
    """Sharpen edges: take the lightest or darkest neighbour across them.

    Which one says the sign of the luminance's second derivative across the edge, smoothed along it:
    on the light side of an edge it is negative.

    Args:
        image: (H, W, 3) in [0, 1].
        flow: of the image.
        step: (H, W), pixels: how far the neighbour may be.
    Source:
        Osher & Rudin 1990; Weickert 2003 (coherence-enhancing shock filter).
    """
    luminance = image @ LUMINANCE
    sides = np.arange(1, int(np.ceil(3 * SHOCK_SIGMA)) + 1)
    bell = np.exp(-0.5 * (sides / SHOCK_SIGMA) ** 2)
    kernel = (sides**2 / SHOCK_SIGMA**4 - 1 / SHOCK_SIGMA**2) * bell
    centre = -2 * kernel.sum()  # so that constant luminance gives zero
    curvature = np.float32(centre) * luminance
    for offset, weight in zip(sides, kernel, strict=True):
        for side in beside(luminance, flow, float(offset) * step):
            curvature += np.float32(weight) * side
    curvature /= np.float32(abs(centre) + 2 * np.abs(kernel).sum())
    curvature = along(curvature, flow, 2.0, step)
    lightest = darkest = image
    light = dark = luminance
    for distance in (0.5, 1.0):
        for side in beside(image, flow, distance * step):
            level = side @ LUMINANCE
            lightest = np.where((level > light)[..., None], side, lightest)
            darkest = np.where((level < dark)[..., None], side, darkest)
            light, dark = np.maximum(light, level), np.minimum(dark, level)
    inside, outside = curvature < -SHOCK_THRESHOLD, curvature > SHOCK_THRESHOLD
    return np.where(inside[..., None], lightest, np.where(outside[..., None], darkest, image))


def detail_step(image: Float, finest: float = 0.5) -> Float:
    """Return how long the filters' steps are at each pixel: 1, and down to `finest` in fine detail.

    Small faces, lettering, windows and crowds are dense in edges; large shapes are not.

    Args:
        image: (H, W, 3) in [0, 1].
    Returns:
        (H, W), pixels.
    """
    luminance = cv2.GaussianBlur(np.sqrt(image @ LUMINANCE), (0, 0), 0.8)
    gx = cv2.Scharr(luminance, cv2.CV_32F, 1, 0, scale=1 / 32)
    gy = cv2.Scharr(luminance, cv2.CV_32F, 0, 1, scale=1 / 32)
    edges = (np.hypot(gx, gy) > EDGE).astype(np.float32)
    density = cv2.GaussianBlur(edges, (0, 0), NEIGHBOURHOOD)
    dense = np.clip((density - SPARSE) / (DENSE - SPARSE), 0, 1)
    return np.asarray(1 - (1 - finest) * dense, np.float32)


EDGE = 0.035  # gradient of the square root of luminance, per pixel
NEIGHBOURHOOD = 9.0  # pixels
SPARSE, DENSE = 0.16, 0.38  # shares of edge pixels
