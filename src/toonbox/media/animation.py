"""Animations into pictures, frame by frame."""

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from toonbox.errors import PictureError
from toonbox.media import apng, avif, gif
from toonbox.media.formats import ANIMATED
from toonbox.media.images import MAX_PIXELS, Picture, decode, without_metadata
from toonbox.media.metadata import Metadata, read_metadata
from toonbox.media.opening import DAMAGE, load, open_image, open_stream, reason
from toonbox.media.parts import composited

_LEAST = 4096  # pixels that a frame counts for: the smallest take their time, too

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Animation:
    """An animation that has been read through once, so that its frames are known to be good.

    Attributes:
        name: what messages call it.
        format: GIF, PNG, WEBP or AVIF.
        size: width and height of every frame, upright.
        durations: of each frame, in milliseconds.
        plays: how often it is shown; 0 is for ever.
        transparent: whether the frames have alpha, because one of them is not opaque.
        metadata: what else the file says; the frames have none.
        frames: decodes them once more, one after the other, each as it is seen, of 8 bits.
    """

    name: str
    format: str
    size: tuple[int, int]
    durations: tuple[Fraction, ...]
    plays: int
    transparent: bool
    metadata: Metadata
    frames: Callable[[], Iterator[Picture]]


def read(
    source: bytes | Path, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Picture | Animation:
    """Read an animation, or a picture as `decode` does if it does not move.

    Several pages of a TIFF are no animation: the first one is the picture.

    Args:
        source, name: as in `decode`.
        max_pixels: as in `decode`; all frames of an animation count together.
    Raises:
        PictureError: as in `decode`; of an animation, because of any of its frames.
    """
    name = name or ("<bytes>" if isinstance(source, bytes) else str(source))
    with open_stream(source, name) as stream, _named(name, stream):
        image = open_image(stream, name, max_pixels)
        if image.format not in ANIMATED or not _is_animated(image):
            return decode(source, max_pixels=max_pixels, name=name)
        stream.seek(0)
        data = stream.read()
        if image.format in ("GIF", "PNG"):
            return _of_parts(data, image.format, image.size, max_pixels, name)
        return _of_frames(data, image.format, max_pixels, name)


def _of_parts(
    data: bytes, format: str, size: tuple[int, int], max_pixels: int, name: str
) -> Animation:
    """Read a format that we take apart ourselves."""

    def check(count: int) -> None:
        _check_limit(size, count, max_pixels, name)

    parts = gif.read(data, check) if format == "GIF" else apng.read(data, check)
    size = parts.size  # of which some GIFs say too little
    check(len(parts.parts))
    if parts.remark:
        _logger.warning("%s: %s", name, parts.remark)
    base = _opened(data if format == "GIF" else apng.still(data), name, max_pixels)
    metadata = read_metadata(base, name)
    info = {key: value for key, value in base.info.items() if key != "transparency"}
    grey = format == "PNG" and base.mode in ("1", "L", "LA", "I;16", "I")

    def images() -> Iterator[Image.Image]:
        for canvas in composited(parts, name):
            frame = canvas.convert("LA") if grey else canvas
            frame.info = dict(info)
            yield frame

    durations = tuple(part.duration for part in parts.parts)
    return _Reader(name, format, images).animation(metadata, parts.plays, durations)


def _of_frames(data: bytes, format: str, max_pixels: int, name: str) -> Animation:
    """Read a format that libwebp or libavif puts together."""
    base: Any = _opened(data, name, max_pixels)
    count = base.n_frames
    _check_limit(base.size, count, max_pixels, name)

    def images() -> Iterator[Image.Image]:
        image = _opened(data, name, max_pixels)
        for number in range(count):
            image.seek(number)
            image.load()
            yield image

    plays = base.info["loop"] if format == "WEBP" else avif.plays(data)
    return _Reader(name, format, images).animation(read_metadata(base, name), plays)


@dataclass
class _Reader:
    """Looks through the images of an animation, and through them again when asked for frames."""

    name: str
    format: str
    images: Callable[[], Iterator[Image.Image]]
    transparent: bool = False
    profile: bool = True

    def animation(
        self, metadata: Metadata, plays: int, durations: tuple[Fraction, ...] = ()
    ) -> Animation:
        """Look through all; without `durations` the images tell theirs."""
        size, times, end = (0, 0), list[Fraction](), Fraction(0)
        for number, image in enumerate(self.images()):
            if number == 0:
                first = without_metadata(image, self.name)
                size, self.profile = first.size, first.icc_profile is not None
            if not durations:
                times.append(Fraction(image.info["timestamp"]))
                end = times[-1] + image.info["duration"]
            if image.has_transparency_data:
                alpha = np.asarray(image.convert("RGBA").getchannel("A"))
                self.transparent |= bool(alpha.min() < 255)
        durations = durations or tuple(b - a for a, b in pairwise([*times, end]))
        kind = (self.name, self.format, size, durations, plays, self.transparent)
        return Animation(*kind, metadata, self.frames)

    def frames(self) -> Iterator[Picture]:
        """Decode all frames, one after the other."""
        with _named(self.name):
            for image in self.images():
                if not self.profile:  # that it cannot be used has been said
                    image.info.pop("icc_profile", None)
                frame = replace(without_metadata(image, self.name), format=self.format)
                alpha = frame.alpha
                if not self.transparent:
                    alpha = None
                elif alpha is None:
                    alpha = np.full(frame.rgb.shape[:2], 255, np.uint8)
                yield replace(frame, alpha=alpha)


@contextmanager
def _named(name: str, stream: BinaryIO | None = None) -> Iterator[None]:
    """Say which file is damaged."""
    try:
        yield
    except DAMAGE as error:
        raise PictureError(f"{name}: {reason(error, stream)}") from error


def _opened(data: bytes, name: str, max_pixels: int) -> Image.Image:
    return load(open_image(io.BytesIO(data), name, max_pixels), name, max_pixels)


def _is_animated(image: Any) -> bool:
    try:
        return bool(image.is_animated)
    except DAMAGE:  # behind the first frame
        return True


def _check_limit(size: tuple[int, int], count: int, max_pixels: int, name: str) -> None:
    if count > 1 and max(size[0] * size[1], _LEAST) * count > max_pixels:
        raise PictureError(
            f"{name}: has at least {count:,} frames of {size[0]} x {size[1]}, together more than "
            f"the limit of {max_pixels:,} pixels, at least {_LEAST:,} for each frame "
            "(max_pixels, on the command line --max-pixels, raises it)"
        )
