"""Reading the pictures of an evaluation, and remembering those that cannot be read."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from toonbox.data.inspect import UNREADABLE
from toonbox.errors import DataError, PictureError
from toonbox.evaluation.artefacts import SMALLEST
from toonbox.files import replacing
from toonbox.pixels import Uint8Array


def read_picture(file: Path) -> Uint8Array:
    """Read a picture as it is shown: (H, W, 3) RGB.

    Raises:
        PictureError: it cannot be read, or a side is under 64 pixels, too little to measure.
    """
    try:
        with Image.open(file) as opened:
            rgb = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    except UNREADABLE as error:
        raise PictureError(f"{file}: {error}") from error
    if min(rgb.shape[:2]) < SMALLEST:
        raise PictureError(f"{file}: under {SMALLEST} pixels high or wide")
    return rgb


class Reader:
    """Reads lists of pictures, passing over those that cannot be read.

    Attributes:
        failures: why, by file.
    """

    def __init__(self) -> None:
        self.failures: dict[Path, str] = {}

    def __call__(self, files: Sequence[Path], least: int = 1) -> Iterator[tuple[Path, Uint8Array]]:
        """Give each readable file with its picture, one at a time.

        Raises:
            DataError: at the end, if fewer than `least` could be read; says why.
        """
        read = 0
        for file in files:
            if file in self.failures:
                continue
            try:
                rgb = read_picture(file)
            except PictureError as error:
                self.failures[file] = str(error)
                continue
            read += 1
            yield file, rgb
        if read < least:
            reasons = [self.failures[file] for file in files if file in self.failures]
            raise DataError(
                "\n".join([f"{read} of {len(files)} pictures can be used, too few", *reasons])
            )


def shrunk(rgb: Uint8Array, short_side: int) -> Uint8Array:
    """Bring (H, W, 3) to a short side in pixels, as stylising does; smaller ones stay."""
    height, width = rgb.shape[:2]
    short = min(height, width)
    if short <= short_side:
        return rgb
    size = (round(width * short_side / short), round(height * short_side / short))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC, reducing_gap=3))


def save_lossless(rgb: Uint8Array, file: Path) -> None:
    """Write (H, W, 3) as PNG, quickly rather than small."""
    with replacing(file) as temporary:
        Image.fromarray(rgb).save(temporary, compress_level=1)
