"""Texture: lines as a pen draws them, along the flow of a picture, on the dark side of edges."""

import cv2
import numpy as np

from toonbox.learn.representations.flow import LUMINANCE, Float, Flow, along, beside

RATIO = 1.6  # of the two Gaussians, which then come close to a Laplacian (Marr & Hildreth 1980)


def line_response(image: Float, pen: float, length: float, step: Float) -> Float:
    """Return how much darker each pixel is than its surroundings across the flow.

    Args:
        image: (H, W, 3) in [0, 1].
        pen: standard deviation of the finer Gaussian, steps: half the width of a line.
        length: standard deviation of the smoothing along the line, steps.
        step: (H, W), pixels.
    Returns:
        (H, W), positive on lines; in units of the square root of luminance, so that an edge in the
        dark counts as much as one in the light.
    Source:
        Kang et al. 2007, eq. 6 to 9 (flow-based difference of Gaussians).
    """
    flow = Flow.of(image, 1.6)
    root = np.sqrt(np.clip(image @ LUMINANCE, 0, 1))
    fine, coarse = root.copy(), root.copy()
    fine_sum = coarse_sum = 1.0
    for distance in range(1, int(np.ceil(2.5 * RATIO * pen)) + 1):
        near = np.exp(-0.5 * (distance / pen) ** 2)
        far = np.exp(-0.5 * (distance / (RATIO * pen)) ** 2)
        sides = sum(beside(root, flow, distance * step))
        fine += np.float32(near) * sides
        coarse += np.float32(far) * sides
        fine_sum, coarse_sum = fine_sum + 2 * near, coarse_sum + 2 * far
    difference = coarse / np.float32(coarse_sum) - fine / np.float32(fine_sum)
    return along(difference, flow, length, step)


def lines(
    response: Float, coherence: Float, threshold: float, gain: float, crowding: float
) -> Float:
    """Turn a response into lines: 0 is paper, 1 is full ink.

    Lines fade where the flow is incoherent, as on grass and gravel, and where many lie together.

    Args:
        response: (H, W), of `line_response`.
        coherence: (H, W) in [0, 1], of the flow over a few pixels.
        threshold: response at which a line begins.
        gain: how fast it becomes a full one above it.
        crowding: how much lines fade among others; 0 not at all.
    Returns:
        (H, W) in [0, 1].
    """
    strength = np.clip((response - np.float32(threshold)) * np.float32(gain), 0, 1)
    strength = strength * strength * (3 - 2 * strength)
    strength *= np.clip((coherence - INCOHERENT) / (COHERENT - INCOHERENT), 0, 1)
    if crowding:
        density = cv2.GaussianBlur(strength, (0, 0), 7)
        strength *= np.clip(1.25 - np.float32(crowding) * density, 0.25, 1)
    return np.asarray(strength, np.float32)


INCOHERENT, COHERENT = 0.12, 0.47
