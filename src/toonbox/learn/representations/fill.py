"""Even colours: a picture's areas without their mottled shading, as if filled with one brush."""

import cv2
import numpy as np

from toonbox.learn.representations.flow import Float
from toonbox.learn.representations.structure import Labels, segment

SCALE, MINIMUM = 150.0, 60  # of segmentation; pixels
LAB = np.array([2.55, 1.6, 1.6], np.float32)  # 8-bit levels per unit of CIE lightness, a and b
NEAR = 120.0  # pixels; how far colours are smoothed across borders of segments
EDGE = 0.12  # difference of colour that stops this
UNIT = 100  # pixels, of slopes
RIDGE = 40.0  # on slopes, against squared errors: segments of a few hundred pixels get one colour


def fill(image: Float) -> Float:
    """Fill each segment of (H, W, 3) in [0, 1] with a plane of colour, fitted by least squares.

    Borders of segments where the image has no edge, as in a sky, are smoothed away (Gastal &
    Oliveira 2011).
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB) * LAB + np.array([0, 128, 128], np.float32)
    labels = segment(np.clip(lab, 0, 255).astype(np.uint8), scale=SCALE, minimum_size=MINIMUM)
    planes = np.clip(fit_planes(image, labels), 0, 1)
    even: Float = cv2.ximgproc.dtFilter(image, planes, NEAR, EDGE, mode=cv2.ximgproc.DTF_NC)
    return even


def fit_planes(image: Float, labels: Labels) -> Float:
    """Fit a plane over x and y to each channel of (H, W, 3) in each segment of labels (H, W)."""
    y, x = (axis.ravel() / UNIT for axis in np.indices(labels.shape))
    basis, colours = np.stack([np.ones_like(x), x, y]), image.reshape(-1, 3).T
    of, count = labels.ravel(), int(labels.max()) + 1
    matrix = np.array([[np.bincount(of, a * b, count) for a in basis] for b in basis])
    right = np.array([[np.bincount(of, a * colour, count) for colour in colours] for a in basis])
    matrix[[1, 2], [1, 2]] += RIDGE
    coefficients = np.linalg.solve(matrix.transpose(2, 0, 1), right.transpose(2, 0, 1))
    fitted = np.einsum("kp,pkc->pc", basis, coefficients[of])
    return np.asarray(fitted.reshape(image.shape), np.float32)
