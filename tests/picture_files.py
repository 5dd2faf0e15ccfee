"""Pictures for tests, as files and as arrays."""

import io

import numpy as np


def file_of(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def smooth(height=48, width=64):
    """Make a picture that lossy formats keep nearly as it is."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 3, y * 4, 255 - x * 2], axis=-1).astype(np.uint8)
