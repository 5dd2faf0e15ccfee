"""A classical cartoon of a photo, made from its own representations: a first thing to learn."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from toonbox.pixels import Uint8Array
from toonbox.representations.structure import adaptive_colouring, merge_segments, segment

Float = npt.NDArray[np.float32]

LINE_MINIMUM = 10


@dataclass(frozen=True)
class Drawing:
    """How a classical cartoon is drawn.

    Attributes:
        detail: share of the photo's fine texture that stays, 0 to 1.
        smoothing: passes of the bilateral filter; a fraction is a blend of two numbers of passes.
        brush: share of a guided filter's smoothing in the result, 0 to 1, before the lines.
        segments: colour areas in a crop of 192 x 192, at most; larger pictures get more.
        flatness: share of an area's one colour, 0 to 1; the rest is the smooth photo.
        sharpness: of the areas' edges.
        saturation: of colours; 1 keeps them.
        gamma: exponent on the colours in [0, 1]; below 1 lights up the shadows.
        paper: how much of white paper shines through, 0 to 1.
        lines: 0 draws none, 1 draws the strongest in full `ink`.
        line_width: standard deviation of the pen, pixels.
        line_threshold: how much darker than its surroundings a line begins, luminance in [0, 1].
        line_gain: how fast a line becomes a full one as luminance falls below its surroundings.
        ink: RGB of the lines, 8 bit.
    """

    detail: float = 0.0
    smoothing: float = 2.0
    brush: float = 0.0
    segments: int = 60
    flatness: float = 0.95
    sharpness: float = 0.5
    saturation: float = 1.25
    gamma: float = 0.8
    paper: float = 0.0
    lines: float = 0.9
    line_width: float = 0.7
    line_threshold: float = 0.012
    line_gain: float = 90.0
    ink: tuple[int, int, int] = (0, 0, 0)

    def turned(self, surface: float, structure: float, texture: float) -> "Drawing":
        """Turn the three knobs: 1 leaves all as it is, 0 takes it away, 2 overdoes it.

        Surface is the smoothness of the brush, structure the flatness of colour areas, texture
        the strength of outlines.
        """
        less, more = 1 - min(surface, 1), max(surface - 1, 0)
        flatter, bolder = max(structure - 1, 0), max(texture - 1, 0)
        return replace(
            self,
            detail=self.detail + less * (0.7 - self.detail),
            smoothing=self.smoothing * min(surface, 1),
            brush=self.brush + more * (0.8 - self.brush),
            segments=round(self.segments * 0.25**flatter),
            flatness=self.flatness * min(structure, 1) + (1 - self.flatness) * flatter,
            lines=self.lines * min(texture, 1) + (1 - self.lines) * bolder,
            line_width=self.line_width * (1 + 0.4 * bolder),
            line_threshold=self.line_threshold * (1 - 0.6 * bolder),
        )


def classical_cartoon(rgb: Uint8Array, drawing: Drawing) -> Uint8Array:
    """Draw a photo as flat areas with lines.

    Args:
        rgb: (H, W, 3).
        drawing: how.
    Returns:
        (H, W, 3): bilateral filters, their result filled segment by segment with one colour
        (adaptive colouring), edges sharpened, and lines where luminance is darker than its
        surroundings.
    """
    smooth = _smoothed(rgb, drawing.smoothing)
    filled = _filled(smooth, drawing)
    crisp = filled + drawing.sharpness * (filled - cv2.GaussianBlur(filled, (0, 0), 1.2))
    if drawing.brush:
        crisp += drawing.brush * (cv2.ximgproc.guidedFilter(crisp, crisp, 4, 4e-3) - crisp)
    if drawing.detail:
        wide = _smoothed(rgb, 2.0)
        crisp += np.float32(drawing.detail / 255) * (rgb.astype(np.float32) - wide)
    coloured = _saturate(np.clip(crisp, 0, 1), drawing.saturation)
    light = np.clip(coloured, 0, 1) ** np.float32(drawing.gamma)
    lit = light + np.float32(drawing.paper) * (1 - light)
    ink = np.array(drawing.ink, dtype=np.float32) / 255
    pen = np.float32(drawing.lines) * _line_map(_smoothed(rgb, 2.0), drawing)[..., None]
    drawn = lit + pen * (ink - lit)
    result: Uint8Array = np.clip(np.rint(drawn * 255), 0, 255).astype(np.uint8)
    return result


def _filled(smooth: Uint8Array, drawing: Drawing) -> Float:
    """Fill each segment with its colour, its rim without stairs: (H, W, 3) in [0, 1]."""
    photo: Float = smooth.astype(np.float32) / np.float32(255)
    if not drawing.flatness:
        return photo
    count = max(2, round(drawing.segments * smooth.shape[0] * smooth.shape[1] / 192**2))
    fine = segment(smooth, sigma=0.5, scale=40.0, minimum_size=14)
    filled = adaptive_colouring(smooth, merge_segments(smooth, fine, count, "ward"))
    flat = cv2.GaussianBlur(cv2.medianBlur(filled, 3).astype(np.float32), (0, 0), 0.6)
    mixed: Float = cv2.addWeighted(
        flat, drawing.flatness / 255, photo, 1 - drawing.flatness, 0, dtype=cv2.CV_32F
    )
    return mixed


def _smoothed(rgb: Uint8Array, passes: float) -> Uint8Array:
    """Filter bilaterally `passes` times; a fraction blends in one pass more."""
    whole = int(passes)
    for _ in range(whole):
        rgb = cv2.bilateralFilter(rgb, 7, 24, 3)
    if passes == whole:
        return rgb
    share = passes - whole
    more: Uint8Array = cv2.bilateralFilter(rgb, 7, 24, 3)
    mixed: Uint8Array = cv2.addWeighted(rgb, 1 - share, more, share, 0)
    return mixed


def _saturate(rgb: Float, saturation: float) -> Float:
    """Move colours away from their own luminance."""
    luminance = rgb @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return luminance[..., None] + np.float32(saturation) * (rgb - luminance[..., None])


def _line_map(rgb: Uint8Array, drawing: Drawing) -> Float:
    """Give (H, W) in [0, 1], 1 on dark lines: a clipped difference of Gaussians of luminance.

    What is not connected over LINE_MINIMUM pixels is grain, not a line.
    """
    luminance = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    fine = cv2.GaussianBlur(luminance, (0, 0), drawing.line_width)
    coarse = cv2.GaussianBlur(luminance, (0, 0), 2.0 * drawing.line_width)
    depth = coarse - fine - np.float32(drawing.line_threshold)
    strength = np.clip(depth * drawing.line_gain, 0, 1)
    _, labels, facts, _ = cv2.connectedComponentsWithStats((strength > 0).astype(np.uint8))
    extent = np.maximum(facts[:, cv2.CC_STAT_WIDTH], facts[:, cv2.CC_STAT_HEIGHT])
    long_enough = np.clip((extent - LINE_MINIMUM) / LINE_MINIMUM, 0, 1).astype(np.float32)
    smooth_step: Float = strength * strength * (3 - 2 * strength) * long_enough[labels]
    return smooth_step
