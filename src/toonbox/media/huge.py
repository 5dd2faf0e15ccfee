"""Pictures too large for the memory, read row by row with libvips (pip install 'toonbox[huge]')."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from toonbox.errors import MissingExtraError, PictureError
from toonbox.media.colour import read_colours
from toonbox.media.images import MAX_PIXELS, Picture
from toonbox.media.metadata import read_metadata
from toonbox.media.opening import DAMAGE, open_image, open_stream, reason
from toonbox.media.strips import FORMATS, without_pixels
from toonbox.media.tiff import TiffFile
from toonbox.pixels import PhotoArray

ADVICE = "pip install 'toonbox[huge]' to read it bit by bit"
_BLOCK = 128  # rows read at once: as many as the tiles of most files are high
_UPRIGHT = 1
_TYPES = {"uchar": np.uint8, "ushort": np.uint16}


def can_stream() -> bool:
    """Tell whether libvips is there."""
    return find_spec("pyvips") is not None


@dataclass(frozen=True)
class Huge:
    """A picture that stays in its file.

    Attributes:
        about: all that is known about it; its values are those of one pixel.
        rgb: (H, W, 3).
        alpha: (H, W), None without transparency.
    """

    about: Picture
    rgb: "FileRows"
    alpha: "FileRows | None"


def open_huge(source: Path, *, max_pixels: int = MAX_PIXELS) -> Huge:
    """Open a JPEG, PNG or TIFF without reading its pixels; the rest is as `decode` does it.

    Raises:
        MissingExtraError: libvips is not installed.
        PictureError: as in `decode`, or of a kind that cannot be read bit by bit.
    """
    if not can_stream():
        raise MissingExtraError(f"{source}: {ADVICE}")
    name = str(source)
    with open_stream(source, name) as stream:
        try:
            image = open_image(stream, name, max_pixels)
            format = "JPEG" if image.format == "MPO" else image.format or ""
            if format not in FORMATS:
                raise PictureError(f"{name}: only {', '.join(FORMATS)} can be read bit by bit")
            if isinstance(image, TiffFile) and image.multiplied:
                raise PictureError(
                    f"{name}: its colours are multiplied by their opacity; "
                    "such a picture cannot be read bit by bit"
                )
            if format == "PNG":  # Pillow looks for metadata behind the pixels, too
                image = Image.open(io.BytesIO(without_pixels(stream)))
                image.load()
            metadata, profile = read_metadata(image, name), image.info.get("icc_profile")
            upright = image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT) == _UPRIGHT
        except DAMAGE as error:
            raise PictureError(f"{name}: {reason(error, stream)}") from error
    rgb = FileRows(source, upright, alpha=False)
    alpha = FileRows(source, upright, alpha=True) if rgb.bands in (2, 4) else None
    mode = "L" if rgb.bands < 3 else "RGB"
    _, colours, written = read_colours(Image.new(mode, (1, 1)), profile, name)
    if written is not None and written != profile:
        raise PictureError(f"{name}: its colours cannot be converted bit by bit")
    pixel = np.zeros((1, 1, 3), rgb.dtype)
    transparent = None if alpha is None else pixel[..., 0]
    about = Picture(name, pixel, transparent, format, colours, written, metadata)
    return Huge(about, rgb, alpha)


class FileRows:
    """The rows of a picture file, upright; read anew from the top if asked for earlier ones.

    Attributes:
        shape: (H, W, 3), or (H, W) of the transparency.
        dtype: uint8 or uint16.
        bands: channels in the file.
    """

    def __init__(self, source: Path, upright: bool, alpha: bool) -> None:
        self._source, self._upright, self._alpha = source, upright, alpha
        self._start: int = 0
        self._block: PhotoArray = np.empty(0, np.uint8)
        image = self._restart()
        kind, self.bands = image.format, image.bands
        if kind not in _TYPES or image.interpretation == "cmyk" or self.bands > 4:
            what = f"{image.interpretation}, {kind}"
            raise PictureError(f"{source}: its kind of pixels cannot be read bit by bit ({what})")
        self.dtype = np.dtype(_TYPES[kind])
        self.shape = (image.height, image.width) + (() if alpha else (3,))

    def __getitem__(self, rows: slice) -> PhotoArray:
        """Give rows.

        Raises:
            PictureError: the file is damaged.
        """
        start, stop, _ = rows.indices(self.shape[0])
        if start < self._start:
            self._restart()
        if stop > self._start + len(self._block):
            self._read_on(start, stop)
        return self._block[start - self._start : stop - self._start]

    def _read_on(self, start: int, stop: int) -> None:
        """Put what is there already from `start` on, and what follows, into the block."""
        parts = [self._block[start - self._start :]]
        place = self._start + len(self._block)
        stop = max(stop, min(place + _BLOCK, self.shape[0]))
        while place < stop:
            count = min(_BLOCK, stop - place)
            part = self._fetch(place, count)
            parts.append(part[max(0, start - place) :])
            place += count
        self._block, self._start = np.concatenate(parts), max(start, self._start)

    def _fetch(self, top: int, count: int) -> PhotoArray:
        width = self.shape[1]
        with _damage(self._source):
            data = self._region.fetch(0, top, width, count)
        values: PhotoArray = np.frombuffer(data, self.dtype).reshape(count, width, self.bands)
        if self._alpha:
            return values[..., -1]
        return np.repeat(values[..., :1], 3, axis=2) if self.bands < 3 else values[..., :3]

    def _restart(self) -> Any:
        import pyvips

        with _damage(self._source):
            # Each reader has a place of its own in the file, so none may be shared.
            image: Any = pyvips.Image.new_from_file(
                str(self._source),
                access="sequential" if self._upright else "random",
                fail_on="error",
                revalidate=True,
            )
            image = image if self._upright else image.autorot()
            self._region = pyvips.Region.new(image)
        self._start = 0
        shape = (0, image.width) if self._alpha else (0, image.width, 3)
        self._block = np.empty(shape, _TYPES.get(image.format, np.uint8))
        return image


@contextmanager
def _damage(source: Path) -> Iterator[None]:
    import pyvips

    try:
        yield
    except pyvips.Error as error:
        lines = str(error).strip().splitlines()
        raise PictureError(f"{source}: is damaged: {lines[-1] if lines else error}") from error
