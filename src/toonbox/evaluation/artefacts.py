"""What a network adds that nobody drew: checkerboards and clipped colours."""

import numpy as np
import numpy.typing as npt

from toonbox.errors import ShapeError
from toonbox.evaluation.luminance import luminance, require_alike
from toonbox.pixels import FloatArray, Uint8Array

Spectrum = npt.NDArray[np.float64]

PATCH = 128
SMALLEST = 64
PERIOD = 8  # pixels: three stages of stride 2
NEARBY = (-4, -3, 3, 4)  # bins; those next to a frequency hold what the window spreads


def checkerboard_energy(photo: Uint8Array, output: Uint8Array) -> float:
    """Measure patterns that repeat with a stride of 2, 4 or 8 pixels, beyond the photo's own.

    Args:
        photo: (H, W, 3), at least 64 x 64.
        output: the same shape.
    Returns:
        Squared levels, at least 0: the luminance energy at all frequencies (i/8, j/8) a pixel but
        the mean, above what their neighbourhood in the spectrum leads to expect, less the
        photo's. A checkerboard that adds and takes one level counts 1; spectra are averaged
        over half-overlapping patches of 128 pixels (less in smaller pictures) under Hann windows.
    Raises:
        ShapeError: the shapes differ or a side is under 64 pixels.
    Source:
        The artefact: Odena et al. 2016; the averaged spectrum: Welch 1967.
    """
    require_alike(photo, output)
    own, added = (_stride_energy(luminance(rgb)) for rgb in (photo, output))
    return max(0.0, added - max(0.0, own))


def _stride_energy(levels: FloatArray) -> float:
    """Sum the energy at stride frequencies above that of their neighbourhood, squared levels."""
    power = _spectrum(levels)
    size = len(power)
    peaks = np.arange(0, size, size // PERIOD)
    spread = (-1, 0, 1)  # a Hann window spreads a pure tone over exactly these bins
    energy = sum(
        power[np.ix_((peaks + y) % size, (peaks + x) % size)] for y in spread for x in spread
    )
    # Averages of logarithms: a spectrum falls like a power of frequency, straight on that scale.
    # Along the row and along the column, since natural pictures have ridges on both axes.
    logarithm = np.log(power + 1e-12)
    beside = np.mean([logarithm[np.ix_(peaks, (peaks + d) % size)] for d in NEARBY], axis=0)
    above = np.mean([logarithm[np.ix_((peaks + d) % size, peaks)] for d in NEARBY], axis=0)
    excess = energy - len(spread) ** 2 * np.exp(np.maximum(beside, above))
    excess[0, 0] = 0
    return float(excess.sum())


def _spectrum(levels: FloatArray) -> Spectrum:
    """Average the power spectra of patches; each sums to the patch's windowed variance."""
    short = min(levels.shape)
    if short < SMALLEST:
        raise ShapeError(f"expected at least {SMALLEST} x {SMALLEST}, got {levels.shape}")
    size = min(PATCH, short // PERIOD * PERIOD)
    window = np.outer(*[np.hanning(size + 1)[:-1]] * 2)
    patches = np.lib.stride_tricks.sliding_window_view(levels, (size, size))
    total = np.zeros((size, size))
    rows, columns = (range(0, side - size + 1, size // 2) for side in levels.shape)
    for top in rows:
        for left in columns:
            patch = patches[top, left].astype(np.float64)
            total += np.abs(np.fft.fft2((patch - patch.mean()) * window)) ** 2
    average: Spectrum = total / (len(rows) * len(columns) * size**2 * (window**2).sum())
    return average


def clipped_share(photo: Uint8Array, output: Uint8Array) -> float:
    """Give the share of pixels, in [0, 1], that the output clips and the photo does not.

    Args:
        photo: (H, W, 3).
        output: the same shape; a pixel is clipped if one of its channels is 0 or 255.
    Raises:
        ShapeError: the shapes differ.
    """
    require_alike(photo, output)
    before, after = (((rgb == 0) | (rgb == 255)).any(axis=2) for rgb in (photo, output))
    return float((after & ~before).mean())
