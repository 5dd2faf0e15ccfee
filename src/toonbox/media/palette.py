"""The few colours a GIF has: chosen for a frame, kept for those after it, and dithered in place.

A pattern that stands still hides the steps of soft gradients and does not flicker, as errors that
are carried on from pixel to pixel would whenever something moves. Its strength was chosen by
looking at cartoons: less shows bands, more shows the pattern.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from toonbox.pixels import FloatArray, PhotoArray, Uint8Array

PATTERN = 8  # side, in pixels
_STRENGTH = 4  # levels between the lowest and the highest of the pattern
_SAMPLE = 128  # side, in pixels, of what colours are chosen by
_BLOCK = 16  # side, in pixels of the sample
_WORSE = 1.25, 4.0  # a palette is kept up to this much more error, ratio and squared levels


def _pattern() -> FloatArray:
    """Bayer's matrix, in [-0.5, 0.5): (PATTERN, PATTERN)."""
    matrix = np.zeros((1, 1))
    while len(matrix) < PATTERN:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    pattern: FloatArray = (matrix / PATTERN**2 - 0.5).astype(np.float32)
    return pattern


@dataclass(frozen=True)
class Palette:
    """Colours to draw with.

    Attributes:
        colours: (N, 3), at most 256.
        exact: these are all the colours there are, in order; nothing needs dithering.
        error: what `error_of` says of the frame it was chosen for.
    """

    colours: Uint8Array
    exact: bool
    error: float = 0.0

    def drawn(self, rgb: PhotoArray) -> Image.Image:
        """Draw (H, W, 3) of 8 bits in mode P."""
        if self.exact:
            places = np.searchsorted(_codes(self.colours), _codes(rgb))
            image = Image.fromarray(places.astype(np.uint8)).convert("P")
            image.putpalette(self.colours.tobytes())
            return image
        height, width = rgb.shape[:2]
        times = (-(-height // PATTERN), -(-width // PATTERN))
        pattern = np.tile(_pattern() * _STRENGTH, times)[:height, :width, None]
        return self._nearest(np.clip(np.rint(rgb + pattern), 0, 255).astype(np.uint8))

    def _nearest(self, rgb: PhotoArray) -> Image.Image:
        model = Image.new("P", (1, 1))
        model.putpalette(self.colours.tobytes())
        return Image.fromarray(rgb).quantize(palette=model, dither=Image.Dither.NONE)

    def error_of(self, rgb: PhotoArray) -> float:
        """Tell how far a frame's worst block is off: its mean squared difference in levels.

        The mean of all would not notice a small thing of a new colour.
        """
        sample = _sampled(rgb)
        drawn = np.asarray(self._nearest(sample).convert("RGB"), np.float32)
        wrong = np.square(drawn - sample).mean(axis=2)
        tops, lefts = (range(0, side, _BLOCK) for side in wrong.shape)
        blocks = (wrong[y : y + _BLOCK, x : x + _BLOCK] for y in tops for x in lefts)
        return max(float(block.mean()) for block in blocks)


def choose_palette(rgb: PhotoArray, count: int, before: Palette | None = None) -> Palette:
    """Choose colours for a frame.

    Args:
        rgb: (H, W, 3) of 8 bits.
        count: how many colours there may be.
        before: the palette of the frame before, which is kept while it is good enough.
    """
    found = Image.fromarray(rgb).getcolors(count)
    if found is not None:
        colours = np.array(sorted(colour for _, colour in found), np.uint8)
        return Palette(colours, exact=True)
    ratio, slack = _WORSE
    if (
        before is not None
        and not before.exact
        and before.error_of(rgb) <= ratio * before.error + slack
    ):
        return before
    sample = Image.fromarray(_sampled(rgb))
    chosen = sample.quantize(count, Image.Quantize.MEDIANCUT, kmeans=2).getpalette() or []
    palette = Palette(np.array(chosen, np.uint8).reshape(-1, 3)[:count], exact=False)
    return Palette(palette.colours, exact=False, error=palette.error_of(rgb))


def with_palette(rgb: PhotoArray, alpha: PhotoArray | None, palette: Palette) -> Image.Image:
    """Draw a picture with these colours: mode P.

    Args:
        rgb: (H, W, 3) of 8 bits.
        alpha: (H, W) of 8 bits; what is less than half opaque becomes fully transparent.
        palette: of 255 colours at most if there is alpha.
    """
    image = palette.drawn(rgb)
    if alpha is not None and (alpha < 128).any():
        transparent = len(palette.colours)
        image.putpalette(palette.colours.tobytes() + bytes(3))
        image.paste(transparent, mask=Image.fromarray(alpha < 128))
        image.info["transparency"] = transparent
    return image


def _sampled(rgb: PhotoArray) -> PhotoArray:
    """Take some of the pixels, without mixing any."""
    rows, columns = (
        np.linspace(0, side - 1, min(side, _SAMPLE)).round().astype(int) for side in rgb.shape[:2]
    )
    return np.ascontiguousarray(rgb[rows][:, columns])


def _codes(colours: PhotoArray) -> npt.NDArray[np.uint32]:
    """Make one number of each colour: (..., 3) -> (...)."""
    red, green, blue = np.moveaxis(colours.astype(np.uint32), -1, 0)
    codes: npt.NDArray[np.uint32] = red << 16 | green << 8 | blue
    return codes
