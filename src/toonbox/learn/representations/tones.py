"""Structure: a few deliberate tones in place of continuous shading."""

import cv2
import numpy as np

from toonbox.learn.representations.flow import Float


def quantise(image: Float, levels: float, hardness: float, gradual: float) -> Float:
    """Draw lightness towards `levels` equally spaced tones; hue and chroma stay.

    The steps between tones are hard where lightness changes anyway and soft where it hardly does,
    so that skies and walls show no bands.

    Args:
        image: (H, W, 3) in [0, 1].
        levels: number of tones between black and white.
        hardness: 1 leaves the image as it is; the larger, the harder the steps.
        gradual: change of CIE lightness per pixel, in [0, 100], below which steps become soft;
            0 makes them hard everywhere.
    Returns:
        (H, W, 3) in [0, 1].
    Source:
        Winnemoeller et al. 2006, section 3.3 (soft luminance quantisation, sharpened by the
        gradient).
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
