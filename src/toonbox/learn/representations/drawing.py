"""The drawn target: a drawing of a photo in a look, made without a network."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import cv2
import numpy as np
from pydantic import ConfigDict, Field

from toonbox.learn.representations.fill import fill
from toonbox.learn.representations.flow import (
    LUMINANCE,
    Float,
    Flow,
    abstract,
    along,
    beside,
    detail_step,
)
from toonbox.pixels import Uint8Array, from_levels

ROUNDS, MORE_ROUNDS = 3, 2  # of abstraction for surface 1, and additional ones for 2
PENS = (0.7, 1.05, 1.5)  # line half-widths, steps
LENGTH = 4.0  # of smoothing along a line, steps
TOLERATED = 0.1  # largest change of a colour by abstraction, grain excepted
INKED = 0.6  # share of the abstracted photo in the input of line detection
DARKENED = 0.4  # factor on a colour for lines tinted with it
STRONGEST = 0.05  # line response stored as 255
STROKE = 0.3  # ink from which neighbouring pixels belong to one stroke
SHORT, LONG = 18, 60  # pixels; extents of a stroke up to which it is a dash, and from which none
FAINT = 0.014  # line response up to which a short stroke is a dash; from twice as much it is none
CROWDED = 0.15, 0.35  # shares of ink around a stroke, between which these demands quadruple
DARK, BLACK = 0.5, 0.4  # luminance below which `even` falls, and its share left in black
DETAILED = 0.4  # share of `even` left where detail is densest
SOLID = 0.3  # factor on the darkest colours
CHANNELS = 14
DESIGNED_SIDE = 512  # pixels; short side that filter and line lengths are designed for
RATIO = 1.6  # of the two Gaussians, to approximate a Laplacian (Marr & Hildreth 1980)
INCOHERENT, COHERENT = 0.12, 0.47  # coherence at which lines vanish and are full
MARGIN = 24  # pixels around a crop that affect `Layers.draw`

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
NotNegative = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
Colour = tuple[Share, Share, Share]


@dataclass(frozen=True)
class Look:
    """Parameters of a drawing, explained in looks/comic.toml; the defaults are the look `comic`."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    tones: Annotated[Number, Field(ge=2)] = 6.0
    hardness: Annotated[Number, Field(ge=1)] = 8.0
    gradual: NotNegative = 0.9
    even: Share = 0.1
    solid: Share = 0.15
    line: Share = 1.0
    pen: Annotated[Number, Field(ge=0.7, le=1.5)] = 1.35
    threshold: NotNegative = 0.004
    gain: Positive = 120.0
    crowding: NotNegative = 0.7
    dashes: Share = 0.7
    fine: Annotated[Number, Field(ge=0.7, le=1.5)] = 0.7
    tint: Share = 0.0
    ink: Colour = (0.0, 0.0, 0.0)
    saturation: NotNegative = 1.5
    gamma: Positive = 0.75
    blacks: Share = 0.0
    paper: Share = 0.0

    def turned(self, structure: float, texture: float) -> "Look":
        """Return the look at two knobs in [0, 2]: 0 removes, 1 keeps, 2 exaggerates."""
        bolder = max(texture - 1, 0)
        return replace(
            self,
            tones=self.tones - 1.5 * max(structure - 1, 0),
            hardness=1 + (self.hardness - 1) * structure,
            even=min(self.even * structure, 1),
            line=self.line * min(texture, 1),
            pen=self.pen + 0.45 * bolder,
            fine=self.fine + 0.45 * bolder,
            threshold=self.threshold * (1 - 0.5 * bolder),
            gain=self.gain * (1 + 0.5 * bolder),
        )


@dataclass(frozen=True)
class Layers:
    """The layers of a drawing in any look, (H, W, CHANNELS) uint8.

    The photo, abstracted for surface 1 and 2 (RGB each), line responses for PENS, coherence, and
    `strokes`.
    """

    packed: Uint8Array

    @classmethod
    def of(cls, rgb: Uint8Array) -> "Layers":
        """Compute the layers of a photo, (H, W, 3); 512 x 768 pixels take about four seconds."""
        photo = rgb.astype(np.float32) / 255
        without_grain = cv2.bilateralFilter(photo, 5, 0.08, 2)
        step = detail_step(without_grain)
        plain = without_grain
        surfaces: list[Float] = []
        for rounds in (ROUNDS, MORE_ROUNDS):
            for _ in range(rounds):
                plain = abstract(plain, step)
            smooth = along(plain, Flow.of(plain, 1.3), 1.3, step)
            surfaces.append(_guarded(smooth, without_grain, TOLERATED * (1 + len(surfaces))))
        drawn_after = without_grain + np.float32(INKED) * (surfaces[0] - without_grain)
        responses = [line_response(drawn_after, pen, LENGTH, step) for pen in PENS]
        coherence = Flow.of(without_grain, 3.0).coherence
        kept = strokes(responses[1], coherence)
        layers = *surfaces, *(response / STRONGEST for response in responses), coherence, kept
        return cls(np.dstack([rgb, *(from_levels(255 * layer, np.uint8) for layer in layers)]))

    def draw(
        self, look: Look, surface: float = 1.0, structure: float = 1.0, texture: float = 1.0
    ) -> tuple[Uint8Array, Uint8Array]:
        """Draw the photo, (H, W, 3), at knobs in [0, 2]; return the ink it spares faint lines, too.

        `surface` simplifies shapes, `structure` flattens tones and areas, and `texture` strengthens
        lines. The ink spared short, faint lines is (H, W); 255 is full.
        """
        look = look.turned(structure, texture)
        plain = _between(self.packed[..., :9], 3, surface)
        flat = quantise(plain, look.tones, look.hardness, look.gradual)
        luminance = (flat @ LUMINANCE)[..., None]
        colour: Float = np.clip(luminance + np.float32(look.saturation) * (flat - luminance), 0, 1)
        lit = colour ** np.float32(look.gamma) - colour
        colour += lit * np.clip(luminance / np.float32(max(look.blacks, 1e-3)), 0, 1)
        if even := look.even * min(surface, 1):
            colour = self._evened(colour, even)
        if look.solid:
            light = _smoothstep((colour @ LUMINANCE)[..., None] / np.float32(look.solid))
            colour *= SOLID + np.float32(1 - SOLID) * light
        colour += np.float32(look.paper) * (1 - colour)
        pen, left_out = self._pen(look)
        own = np.float32(DARKENED) * colour
        ink = own + np.float32(1 - look.tint) * (np.array(look.ink, np.float32) - own)
        drawn = colour + pen[..., None] * (ink - colour)
        return from_levels(255 * drawn, np.uint8), from_levels(255 * left_out, np.uint8)

    def _evened(self, colour: Float, most: float) -> Float:
        """Even out the areas of (H, W, 3), changing colours by `most`, less in dark or detail."""
        light = np.minimum((colour @ LUMINANCE)[..., None] / np.float32(DARK), 1)
        plain = detail_step(_unit(self.packed[..., :3]), DETAILED)[..., None]
        tolerated = np.float32(most) * plain * (BLACK + (1 - BLACK) * light)
        return _guarded(fill(colour), colour, tolerated)

    def _pen(self, look: Look) -> tuple[Float, Float]:
        """Return the ink that the look draws, and what short, faint lines are spared, (H, W)."""
        coherence, kept = cv2.split(_unit(self.packed[..., 12:]))

        def ink(width: float) -> Float:
            place = float(np.interp(width, PENS, (0, 1, 2)))
            response = _between(self.packed[..., 9:12], 1, place)[..., 0] * np.float32(STRONGEST)
            drawn = lines(response, coherence, look.threshold, look.gain, look.crowding)
            return np.asarray(np.float32(look.line) * drawn, np.float32)

        bold = ink(look.pen)
        drawn = kept * bold + np.float32(look.dashes) * (1 - kept) * ink(look.fine)
        return drawn, np.maximum(bold - drawn, 0)


def quantise(image: Float, levels: float, hardness: float, gradual: float) -> Float:
    """Move the lightness of (H, W, 3) in [0, 1] towards `levels` equally spaced tones.

    A hardness of 1 leaves the image unchanged. Below a gradient of lightness, in [0, 100] per
    pixel, of `gradual` steps are soft, to avoid banding in skies and walls; 0 makes all hard.

    Source: Winnemoeller et al. 2006, section 3.3 (soft luminance quantisation).
    """
    lab = cv2.cvtColor(np.clip(image, 0, 1), cv2.COLOR_RGB2LAB)
    lightness = lab[..., 0]
    width = np.float32(100 / levels)
    exponent: Float | float = hardness
    if gradual:
        gx = cv2.Sobel(lightness, cv2.CV_32F, 1, 0, scale=1 / 8)
        gy = cv2.Sobel(lightness, cv2.CV_32F, 0, 1, scale=1 / 8)
        change = cv2.GaussianBlur(np.hypot(gx, gy), (0, 0), 3)
        exponent = 1 + (hardness - 1) * np.clip(change / np.float32(gradual), 0, 1)
    tone = np.round(lightness / width) * width
    offset = (lightness - tone) / (width / 2)
    lab[..., 0] = tone + np.sign(offset) * np.abs(offset) ** exponent * (width / 2)
    quantised: Float = np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1)
    return quantised


def line_response(image: Float, pen: float, length: float, step: Float) -> Float:
    """Return how much darker (H, W, 3) is at each pixel than across the flow beside it, (H, W).

    In units of the square root of luminance, which gives dark and light edges similar weight. The
    standard deviations `pen`, half the line width, and `length`, along the line, are in steps.

    Source: Kang et al. 2007, eq. 6 to 9 (flow-based difference of Gaussians).
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
    """Convert line responses, (H, W), to ink from 0 (none) to 1 (full).

    Ink starts at `threshold` and grows by `gain`. It fades where the flow is incoherent, as on
    grass and gravel, and where lines are dense, by `crowding`.
    """
    strength = _smoothstep((response - np.float32(threshold)) * np.float32(gain))
    strength *= np.clip((coherence - INCOHERENT) / (COHERENT - INCOHERENT), 0, 1)
    if crowding:
        density = cv2.GaussianBlur(strength, (0, 0), 7)
        strength *= np.clip(1.25 - np.float32(crowding) * density, 0.25, 1)
    return np.asarray(strength, np.float32)


def strokes(response: Float, coherence: Float) -> Float:
    """Return how surely each pixel's line is a stroke to draw, (H, W), from 0 (a dash) to 1.

    Texture, as of grass, crumbs or masonry, gives short, faint lines. Outlines are long; eyes and
    letters are short but strong. The line responses, (H, W), are of the middle one of PENS.
    """
    look = Look(gain=100.0)  # of one pen, as layers are for all looks
    ink = lines(response, coherence, look.threshold, look.gain, look.crowding)
    around = lines(response, coherence, look.threshold, look.gain, 0)
    cv2.GaussianBlur(around, (0, 0), 12, dst=around)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats((ink > STROKE).astype(np.uint8))
    area = boxes[:, cv2.CC_STAT_AREA]
    strength, crowd = (
        np.bincount(labels.ravel(), values.ravel(), count) / area for values in (response, around)
    )
    extent = np.hypot(boxes[:, cv2.CC_STAT_WIDTH], boxes[:, cv2.CC_STAT_HEIGHT])
    wanted = np.interp(crowd, CROWDED, (1, 4))
    kept = np.maximum((extent / wanted - SHORT) / (LONG - SHORT), strength / wanted / FAINT - 1)
    kept[0] = 0
    nearest = cv2.dilate(labels.astype(np.float32), np.ones((5, 5))).astype(np.int32)
    return np.asarray(np.clip(kept, 0, 1)[np.where(labels, labels, nearest)], np.float32)


def _guarded(plain: Float, photo: Float, tolerated: Float | float) -> Float:
    """Limit the change of colours, to preserve pupils, lettering and small faces."""
    missing = cv2.GaussianBlur(photo, (0, 0), 0.6) - plain
    size = np.abs(missing).max(axis=2, keepdims=True)
    most = np.asarray(tolerated, np.float32)
    share = 1 - most / np.maximum(size, most)
    return np.asarray(plain + missing * share, np.float32)


def _smoothstep(values: Float) -> Float:
    """Return a smooth step from 0 at 0 to 1 at 1."""
    values = np.clip(values, 0, 1)
    return values * values * (3 - 2 * values)


def _between(layers: Uint8Array, channels: int, place: float) -> Float:
    """Interpolate between layers, (H, W, n * channels), at a fractional index; in [0, 1]."""
    first = min(int(place), layers.shape[2] // channels - 2)
    pair = _unit(layers[..., channels * first : channels * (first + 2)])
    below, above = np.split(pair, 2, axis=2)
    return np.asarray(below + np.float32(place - first) * (above - below), np.float32)


def _unit(values: Uint8Array) -> Float:
    unit: Float = values.astype(np.float32) / np.float32(255)
    return unit
