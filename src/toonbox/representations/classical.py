"""A classical cartoon of a photo, made from its own representations: a first thing to learn."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch

from toonbox.pixels import Uint8Array
from toonbox.representations.flatten import flatten

Float = npt.NDArray[np.float32]

LINE_MINIMUM = 10
GRAIN_PASSES = 2.0  # of the bilateral filter, after which what is left is no grain
MARGIN = 8


@dataclass(frozen=True)
class Drawing:
    """How a classical cartoon is drawn.

    Attributes:
        detail: share of the photo's fine texture that stays, 0 to 1.
        smoothing: passes of the bilateral filter; a fraction is a blend of two numbers of passes.
        brush: share of a guided filter's smoothing in the result, 0 to 1, before the lines.
        edge_cost: of `flatten`; the more an edge costs, the fewer areas remain.
        flatness: share of the areas' flat colours, 0 to 1; the rest is the smooth photo.
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
    smoothing: float = 3.0
    brush: float = 0.0
    edge_cost: float = 0.01
    flatness: float = 1.0
    saturation: float = 1.5
    gamma: float = 0.77
    paper: float = 0.0
    lines: float = 0.45
    line_width: float = 0.6
    line_threshold: float = 0.003
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
            smoothing=self.smoothing * surface,
            brush=self.brush + more * (1 - self.brush),
            edge_cost=self.edge_cost * 4**flatter,
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
        (H, W, 3): bilateral filters, their result flattened within areas, and lines where
        luminance is darker than its surroundings.
    """
    without_grain = _smoothed(rgb, GRAIN_PASSES)
    more = drawing.smoothing - GRAIN_PASSES
    smooth = _smoothed(without_grain, more) if more >= 0 else _smoothed(rgb, drawing.smoothing)
    flat = _flattened(smooth, drawing)
    if drawing.brush:
        flat += drawing.brush * (cv2.ximgproc.guidedFilter(flat, flat, 4, 4e-3) - flat)
    if drawing.detail:
        flat += np.float32(drawing.detail / 255) * (rgb.astype(np.float32) - without_grain)
    coloured = _saturate(np.clip(flat, 0, 1), drawing.saturation)
    light = np.clip(coloured, 0, 1) ** np.float32(drawing.gamma)
    lit = light + np.float32(drawing.paper) * (1 - light)
    ink = np.array(drawing.ink, dtype=np.float32) / 255
    pen = np.float32(drawing.lines) * _line_map(without_grain, drawing)[..., None]
    drawn = lit + pen * (ink - lit)
    result: Uint8Array = np.clip(np.rint(drawn * 255), 0, 255).astype(np.uint8)
    return result


def _flattened(smooth: Uint8Array, drawing: Drawing) -> Float:
    """Flatten areas, keep their edges: (H, W, 3) in [0, 1].

    Of square roots, so that an edge in the dark counts as much as one in the light: the features
    of a dark face must not cost more than those of a pale one.
    """
    photo: Float = smooth.astype(np.float32) / np.float32(255)
    if not drawing.flatness:
        return photo
    wide = cv2.copyMakeBorder(np.sqrt(photo), *(MARGIN,) * 4, cv2.BORDER_REFLECT)
    flat = flatten(torch.from_numpy(wide).permute(2, 0, 1), drawing.edge_cost)
    inside = flat.square().permute(1, 2, 0).numpy()[MARGIN:-MARGIN, MARGIN:-MARGIN]
    mixed: Float = cv2.addWeighted(inside, drawing.flatness, photo, 1 - drawing.flatness, 0)
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
