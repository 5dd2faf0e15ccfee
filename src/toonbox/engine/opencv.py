"""Guided upsampling computed by OpenCV, which is optional: import this where it is installed."""

import cv2
import numpy as np

from toonbox.engine.guided import Arithmetic
from toonbox.pixels import FloatArray, PhotoArray


def _box_sum(image: FloatArray, radius: int) -> FloatArray:
    ones = np.ones(2 * radius + 1, np.float32)
    # Quicker than its boxFilter, which is made for large windows.
    total: FloatArray = cv2.sepFilter2D(image, -1, ones, ones, borderType=cv2.BORDER_REPLICATE)
    return total


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


OPENCV = Arithmetic(_box_sum, _widen, _apply, half=0.0)
