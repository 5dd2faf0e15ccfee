"""The edge tangent flow of a picture, and filters along and across it.

Arrays are float32: images (H, W, 3) or (H, W) in [0, 1], fields (H, W). Lengths are in steps; the
field `step` is the length of a step in pixels, shorter where filters should be finer.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]

STRIDE = 1.5  # steps between samples of a line integral
SHOCK_SIGMA, SHOCK_THRESHOLD = 1.5, 0.002
EDGE = 0.035  # gradient of the square root of luminance, per pixel
NEIGHBOURHOOD = 9.0  # pixels
SPARSE, DENSE = 0.16, 0.38  # shares of edge pixels
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Flow:
    """Unit tangents of edges, x and y, and their coherence in [0, 1], (H, W) each.

    Coherence is 1 where nearby edges are parallel, and 0 where they cross or there are none.
    """

    x: Float
    y: Float
    coherence: Float

    @classmethod
    def of(cls, image: Float, sigma: float) -> "Flow":
        """Compute the flow of (H, W, 3) or (H, W) in [0, 1]; `sigma` smooths the tensor, in pixels.

        Source: Brox et al. 2006; Kyprianidis & Kang 2011, section 3.1.
        """
        gx, gy = _gradient(image)
        tensor = np.dstack([_channel_sum(a * b) for a, b in ((gx, gx), (gx, gy), (gy, gy))])
        e, f, g = cv2.split(cv2.GaussianBlur(tensor, (0, 0), sigma))
        half = np.sqrt((e - g) ** 2 / 4 + f * f)  # half the difference of the eigenvalues
        # The minor eigenvector is (f, minor - e) or (minor - g, f): use the longer one.
        steep = e >= g
        x = np.where(steep, f, (e - g) / 2 - half)
        y = np.where(steep, (g - e) / 2 - half, f)
        length = np.hypot(x, y)
        flat = length < 1e-12
        x, y = np.where(flat, 1, x), np.where(flat, 0, y)
        length[flat] = 1
        coherence = 2 * half / (e + g + np.float32(1e-9))
        return cls(*(np.asarray(a, np.float32) for a in (x / length, y / length, coherence)))


def abstract(image: Float, step: Float) -> Float:
    """Abstract (H, W, 3) by a round; more give simpler shapes (Kyprianidis & Kang 2011)."""
    flow = Flow.of(image, 1.3)
    image = across(image, flow, 2.0, step, 0.06)
    image = along(image, flow, 3.5, step, 0.2)
    return shock(image, Flow.of(image, 1.0), step)


def shock(image: Float, flow: Flow, step: Float) -> Float:
    """Sharpen edges of (H, W, 3): take the lightest or darkest neighbour across the flow.

    The second derivative of luminance across the flow is negative on the light side of an edge
    (Osher & Rudin 1990; Weickert 2003).
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
    """Return the length of a step, (H, W): 1, or down to `finest` where edges are dense."""
    luminance = cv2.GaussianBlur(np.sqrt(image @ LUMINANCE), (0, 0), 0.8)
    edges = (np.hypot(*_gradient(luminance)) > EDGE).astype(np.float32)
    density = cv2.GaussianBlur(edges, (0, 0), NEIGHBOURHOOD)
    dense = np.clip((density - SPARSE) / (DENSE - SPARSE), 0, 1)
    return np.asarray(1 - (1 - finest) * dense, np.float32)


def along(
    image: Float, flow: Flow, sigma: float, step: Float, tolerance: float | None = None
) -> Float:
    """Smooth along the flow by a Gaussian line integral of `sigma` steps in both directions.

    `tolerance` is the standard deviation of the range weights of a bilateral integral (Kang et al.
    2007, section 2.2; Kang & Lee 2008).
    """
    x0, y0 = _grid(image)
    field = np.dstack([flow.x, flow.y])
    stride = STRIDE * step

    def samples() -> Iterator[tuple[float, Float]]:
        for sign in (1, -1):
            x, y, vx, vy = x0, y0, sign * flow.x, sign * flow.y
            for k in range(1, int(np.ceil(2 * sigma / STRIDE)) + 1):
                x, y = x + stride * vx, y + stride * vy
                yield np.exp(-0.5 * (STRIDE * k / sigma) ** 2), sampled(image, x, y)
                nx, ny = cv2.split(sampled(field, x, y))
                # The sign of a tangent is arbitrary: keep the direction.
                same = np.copysign(np.float32(1), nx * vx + ny * vy)
                vx, vy = nx * same, ny * same

    return _mean(image, samples(), tolerance)


def across(image: Float, flow: Flow, sigma: float, step: Float, tolerance: float) -> Float:
    """Smooth across the flow by a bilateral filter, as `along` (Kyprianidis & Doellner 2008)."""
    samples = (
        (np.exp(-0.5 * (k / sigma) ** 2), sample)
        for k in range(1, int(np.ceil(2 * sigma)) + 1)
        for sample in beside(image, flow, step * k)
    )
    return _mean(image, samples, tolerance)


def beside(image: Float, flow: Flow, distance: Float | float) -> tuple[Float, Float]:
    """Sample an image `distance` pixels to either side of each pixel, across the flow."""
    x, y = _grid(image)
    dx, dy = distance * flow.y, distance * flow.x
    return sampled(image, x - dx, y + dy), sampled(image, x + dx, y - dy)


def sampled(image: Float, x: Float, y: Float) -> Float:
    """Sample an image bilinearly at positions (H, W), mirrored at its borders."""
    values: Float = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return values


def _mean(image: Float, samples: Iterable[tuple[float, Float]], tolerance: float | None) -> Float:
    """Average an image and weighted samples of it; a tolerance adds range weights."""
    wide = (...,) if image.ndim == 2 else (..., None)
    total, weights = image.copy(), np.ones(image.shape[:2], np.float32)
    for weight, sample in samples:
        field = np.full(weights.shape, weight, np.float32)
        if tolerance is not None:
            difference = _channel_sum((sample - image) ** 2)
            field *= cv2.exp(difference * np.float32(-0.5 / tolerance**2))
        total += sample * field[wide]
        weights += field
    return np.asarray(total / weights[wide], np.float32)


def _gradient(image: Float) -> tuple[Float, Float]:
    across: Float = cv2.Scharr(image, cv2.CV_32F, 1, 0, scale=1 / 32)
    down: Float = cv2.Scharr(image, cv2.CV_32F, 0, 1, scale=1 / 32)
    return across, down


def _channel_sum(values: Float) -> Float:
    return values if values.ndim == 2 else values[..., 0] + values[..., 1] + values[..., 2]


def _grid(image: Float) -> tuple[Float, Float]:
    height, width = image.shape[:2]
    rows, columns = np.indices((height, width), dtype=np.float32)
    return columns, rows
