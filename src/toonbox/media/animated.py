"""The cartoons of an animation's frames into one file again."""

import io
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from toonbox.errors import OutputError
from toonbox.media import apng, avif, gif, webp
from toonbox.media.animation import Animation
from toonbox.media.encoding import (
    QUALITY,
    check_quality,
    encode,
    image_of,
    save_options,
    written_rgb,
)
from toonbox.media.formats import check_lossless
from toonbox.media.images import Picture
from toonbox.media.metadata import Metadata
from toonbox.media.palette import PATTERN, Palette, choose_palette
from toonbox.media.parts import Part, Parts, in_steps
from toonbox.pixels import PhotoArray

Drawn = Iterable[tuple[Picture, PhotoArray]]

_WRITERS = {"GIF": gif.write, "PNG": apng.write, "WEBP": webp.write}
# Where parts may begin: WebP knows even places only, and the pattern of a GIF must stand still.
_GRID = {"GIF": PATTERN, "PNG": 1, "WEBP": 2}

_logger = logging.getLogger(__name__)


def encode_animation(
    animation: Animation,
    drawn: Drawn,
    format: str,
    quality: int | None = None,
    lossless: bool = False,
) -> bytes:
    """Write the cartoons of all frames as one file, with the metadata of the animation.

    Only one frame is held at a time, and what the file has so far. Of GIF, PNG and WebP a frame is
    written where it differs from the one before.

    Args:
        animation: where times, repetitions and metadata come from.
        drawn: frames, and what was made of each, (H, W, 3), taken when needed.
        format: one of `formats.ANIMATED`.
        quality: 1..100, of WebP and AVIF; None for 95.
        lossless: keep every value, or fail.
    Raises:
        UsageError: quality out of range.
        OutputError: the format cannot hold this animation, or is never lossless.
    """
    check_quality(quality)
    if lossless:
        check_lossless(format)
    if format == "AVIF":
        return _encode_avif(animation, drawn, quality or QUALITY)
    if format == "GIF" and max(animation.durations) > gif.LONGEST * gif.STEP:
        longest = gif.LONGEST * gif.STEP / 1000
        _logger.warning("%s: GIF shows no frame longer than %g s", animation.name, longest)
    parts = list(_parts(animation, drawn, format, quality, lossless))
    return _WRITERS[format](Parts(animation.size, animation.plays, parts))


def _parts(
    animation: Animation, drawn: Drawn, format: str, quality: int | None, lossless: bool
) -> Iterator[Part]:
    """Encode each frame, or what has changed of it."""
    # Transparent pixels of a GIF let through what was there: if frames have some, that has to go.
    clears = format == "GIF" and animation.transparent
    metadata = animation.metadata
    before: PhotoArray | None = None
    palette: Palette | None = None
    for (frame, cartoon), duration in zip(drawn, animation.durations, strict=True):
        if format == "GIF":
            palette = choose_palette(written_rgb(frame, cartoon, format), 255, palette)
        shown, alpha = _shown(frame, cartoon), frame.alpha
        rows, columns = slice(0, shown.shape[0]), slice(0, shown.shape[1])
        if before is not None and not clears:
            changed = (before != shown).any(axis=2)
            rows, columns = _box(changed, _GRID[format])
            if format == "GIF":  # what has not changed shall not flicker with the palette
                alpha = np.where(changed, 255, 0).astype(np.uint8)
        alpha = None if alpha is None else alpha[rows, columns]
        part = replace(frame, alpha=alpha, metadata=metadata)
        data = encode(part, cartoon[rows, columns], format, quality, lossless, palette)
        then: Literal["stay", "clear"] = "clear" if clears else "stay"
        yield Part(data, columns.start, rows.start, duration, False, then)
        metadata, before = Metadata(), shown


def _shown(frame: Picture, cartoon: PhotoArray) -> PhotoArray:
    return cartoon if frame.alpha is None else np.dstack([cartoon, frame.alpha])


def _box(changed: npt.NDArray[np.bool_], grid: int) -> tuple[slice, slice]:
    """Find the smallest box that begins on the grid and holds all changes, or one pixel."""
    box = []
    for axis in (1, 0):
        places = np.flatnonzero(changed.any(axis=axis))
        first, last = (places[0], places[-1]) if len(places) else (0, 0)
        box.append(slice(int(first) // grid * grid, int(last) + 1))
    return box[0], box[1]


class _Film(Image.Image):
    """Images made one at a time, looking to Pillow like a file with frames."""

    def __init__(self, images: Iterator[Image.Image], count: int) -> None:
        super().__init__()
        self.n_frames, self.is_animated = count, count > 1
        self._images, self._at = images, -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Go on to the next image; Pillow asks for no other, but for the first one at the end."""
        if frame >= self.n_frames:
            raise EOFError
        if frame > self._at:
            image = next(self._images)
            self.im, self._mode, self._size = image.im, image.mode, image.size
            self._at = frame

    def tell(self) -> int:
        """Give the number of the image."""
        return self._at


def _encode_avif(animation: Animation, drawn: Drawn, quality: int) -> bytes:
    """Let libavif find what has changed."""
    pairs = iter(drawn)
    frame, cartoon = next(pairs)
    mode = "RGBA" if animation.transparent else "RGB"
    images = (image_of(*pair).convert(mode) for pair in chain([(frame, cartoon)], pairs))
    model = replace(frame, metadata=animation.metadata)
    options = save_options(model, "AVIF", quality, lossless=False)
    options["speed"] = 7  # Pillow's 6 took 20 times as long for a file as large and hardly better
    if frame.grey:
        options["subsampling"] = "4:0:0"
    # libavif makes 1 of 0 all the same.
    options["duration"] = [max(1, step) for step in in_steps(animation.durations, 1)]
    buffer = io.BytesIO()
    try:
        _Film(images, len(animation.durations)).save(buffer, "AVIF", save_all=True, **options)
    except (OSError, RuntimeError) as error:
        raise OutputError(f"{animation.name}: cannot be written as AVIF: {error}") from error
    return avif.with_plays(buffer.getvalue(), animation.plays)
