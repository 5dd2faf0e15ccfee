"""Guided upsampling computed by OpenCV, which is optional: import this where it is installed."""

from typing import Any

import cv2
import numpy as np

from toonbox.engine.guided import EPS, WINDOW, Arithmetic, Model
from toonbox.pixels import FloatArray, Levels, PhotoArray


def _fit(guide: Levels | FloatArray, target: Levels | FloatArray) -> Model:
    guide, ones = np.ascontiguousarray(guide), np.ones(WINDOW, np.float32)

    def box(image: Levels | FloatArray, weights: FloatArray = ones) -> Any:
        # Quicker than OpenCV's boxFilter, which is made for large windows.
        return cv2.sepFilter2D(image, cv2.CV_32F, weights, ones, borderType=cv2.BORDER_REPLICATE)

    guides, targets = box(guide), box(target)
    covariance, variance = (
        box(cv2.multiply(guide, other, dtype=cv2.CV_32F)) for other in (target, guide)
    )
    cv2.multiply(guides, targets, targets)
    cv2.multiply(guides, guides, guides)
    cv2.addWeighted(covariance, WINDOW**2, targets, -1, 0, covariance)
    cv2.addWeighted(variance, WINDOW**2, guides, -1, WINDOW**4 * EPS, variance)
    slope = box(cv2.divide(covariance, variance, covariance), ones / np.float32(WINDOW**2))
    return slope, cv2.subtract(
        target, cv2.multiply(slope, guide, dtype=cv2.CV_32F), dtype=cv2.CV_32F
    )


def _widen(model: FloatArray, width: int) -> FloatArray:
    height = len(model)
    widened: FloatArray = cv2.resize(model, (width, height))
    return widened.reshape(height, -1)


def _apply(
    photo: PhotoArray | FloatArray, slope: FloatArray, offset: FloatArray, result: PhotoArray
) -> None:
    depth = cv2.CV_8U if result.dtype == np.uint8 else cv2.CV_16U
    cv2.multiply(np.ascontiguousarray(photo), slope, slope, dtype=cv2.CV_32F)
    cv2.add(slope, offset, result, dtype=depth)


OPENCV = Arithmetic(_fit, _widen, _apply, half=0.0)
