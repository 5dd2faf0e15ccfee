"""Decode picture files into arrays, with colours, transparency and metadata."""

import codecs
import io
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from toonbox.atomic import is_dir
from toonbox.errors import PictureError, TooLargeError
from toonbox.images.formats import ANIMATED
from toonbox.images.metadata import DAMAGE, Metadata, check_metadata, join_raw_exif, read_metadata
from toonbox.images.tiff import MOST_CHANNELS, PREFIXES, TiffFile, UnsupportedError
from toonbox.options import MAX_PIXELS
from toonbox.pixels import (
    Colours,
    GreyColours,
    PhotoArray,
    Uint8Array,
    Uint16Array,
    read_colours,
    strips_of,
    to_eight_bits,
    upright,
)

# Vector formats: Pillow would run Ghostscript or Windows to rasterise them.
_DRAWINGS = ("EPS", "WMF")
# Formats with another file inside, whose size may be none that the limit has seen.
_WRAPPERS = ("BLP", "ICNS", "IPTC")
_ICO = b"\0\0\1\0"  # a wrapper, too, that Pillow decodes while it opens it

# Signatures of the commonest formats; those of BMP and TIFF are too short to be conclusive.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
_HEIF_BRANDS = (
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1", b"miaf"),
    *(b"avci", b"j2ki", b"jpeg", b"unif", b"vvic"),
)
_UNSUPPORTED = re.compile(
    r"\bunsupported|\bnot (yet )?(supported|implemented)|unknown pixel mode", re.IGNORECASE
)
_pillow_limit, _text_limit = threading.Lock(), threading.Lock()
_text_limits: list[int] = []


@contextmanager
def _long_texts() -> Iterator[None]:
    """Raise Pillow's global limit of 1 MiB for a text or profile of a PNG, in any thread's block.

    Its other limit, for all texts of a PNG together, stays.
    """
    with _text_limit:
        _text_limits.append(PngImagePlugin.MAX_TEXT_CHUNK)
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
    try:
        yield
    finally:
        with _text_limit:  # the last one out finds what the first one has put there
            PngImagePlugin.MAX_TEXT_CHUNK = _text_limits.pop()


def open_stream(source: bytes | Path, name: str) -> BinaryIO:
    """Open a file or the bytes of one; read a pipe to its end. Raise PictureError if that fails."""
    try:
        stream: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        if not stream.seekable():
            with stream:
                return io.BytesIO(stream.read())
    except FileNotFoundError as error:
        raise PictureError(f"{name}: no such file") from error
    except OSError as error:
        folder = isinstance(source, Path) and is_dir(source)
        reason = "is a folder, not a picture" if folder else f"cannot be read: {error.strerror}"
        raise PictureError(f"{name}: {reason}") from error
    return stream


def open_image(stream: BinaryIO, name: str, max_pixels: int) -> Image.Image:
    """Open a picture and read its header.

    Raise PictureError if it is empty, larger than `max_pixels`, a drawing, or of a format that
    wraps others; one of DAMAGE for the rest.
    """
    stream.seek(0)
    head = stream.read(12)
    stream.seek(0)
    if not head:
        raise PictureError(f"{name}: is empty")
    if head.startswith(_ICO):
        raise PictureError(f"{name}: {_wrapper('ICO')}")
    check_metadata(stream)
    stream.seek(0)
    with _long_texts(), _limit(name, max_pixels):
        image: Image.Image
        try:
            image = TiffFile(stream) if head.startswith(PREFIXES) else Image.open(stream)
        except UnidentifiedImageError:
            if head[4:8] != b"ftyp" or head[8:12] not in _HEIF_BRANDS:
                raise
            image = _open_heif(stream, name)
        if image.width * image.height > max_pixels:
            raise Image.DecompressionBombError
    if image.format in _DRAWINGS:
        raise PictureError(f"{name}: is a drawing ({image.format}), not a picture")
    if image.format in _WRAPPERS:
        raise PictureError(f"{name}: {_wrapper(image.format)}")
    return image


def _wrapper(format: str) -> str:
    return f"is not supported: {format} wraps other files, which need not have the size it says"


def load(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    """Decode what `open_image` has opened; raise the same errors."""
    if image.format != "TIFF":
        with _long_texts():  # a PNG may have them behind its pixels
            image.load()
        join_raw_exif(image)
        return image
    # Pillow checks its limit again while it decodes a TIFF, and takes channels for pixels.
    with _limit(name, MOST_CHANNELS * max_pixels):
        image.load()
    return image


@contextmanager
def naming_damage(name: str, stream: BinaryIO | None = None) -> Iterator[None]:
    """Turn what Pillow raises for a damaged picture into a PictureError that says why."""
    try:
        yield
    except DAMAGE as error:
        raise PictureError(f"{name}: {_reason(error, stream)}") from error


def _reason(error: BaseException, stream: BinaryIO | None) -> str:
    """Return a short reason why Pillow failed."""
    if isinstance(error, MemoryError):
        return "needs more memory than is available"
    if isinstance(error, Image.DecompressionBombError):
        return f"is too large: {error}"
    head, size = b"", 0
    if stream is not None:
        stream.seek(0)
        head, size = stream.read(4096), stream.seek(0, io.SEEK_END)
    if isinstance(error, UnidentifiedImageError):
        brands = (b"avif", b"avis", *_HEIF_BRANDS)
        if head.startswith(_SIGNATURES) or (head[4:8] == b"ftyp" and head[8:12] in brands):
            return "begins like a picture, but its header is damaged or cut off"
        try:
            # Incremental, because the last character may be cut in two.
            codecs.getincrementaldecoder("utf-8")().decode(head)
        except UnicodeDecodeError:
            return "is not a picture"
        return "is not a picture" if b"\0" in head else "is text, not a picture"
    if isinstance(error, UnsupportedError) or _UNSUPPORTED.search(str(error)):
        return f"is not supported: {error}"
    webp_cut_off = head[8:12] == b"WEBP" and int.from_bytes(head[4:8], "little") + 8 > size
    if "truncat" in str(error).lower() or isinstance(error, EOFError) or webp_cut_off:
        return "ends before the picture is complete"
    return f"is damaged: {error}" if str(error) else "is damaged"


@contextmanager
def _limit(name: str, max_pixels: int) -> Iterator[None]:
    """Replace Pillow's global limit of pixels: some readers take memory while they open."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield
        except Image.DecompressionBombError as error:
            raise TooLargeError(
                f"{name}: is larger than the limit of {max_pixels:,} pixels "
                "(raise it with max_pixels, or --max-pixels on the command line)"
            ) from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _open_heif(stream: BinaryIO, name: str) -> Image.Image:
    try:
        from pi_heif import HeifImageFile
    except ModuleNotFoundError as error:
        raise PictureError(
            f"{name}: is a HEIC picture; to read it: pip install 'toonbox[heic]'"
        ) from error
    stream.seek(0)
    image: Image.Image = HeifImageFile(stream)
    return image


# Pillow decodes 16 bits to the upper 8; decoded again in these raw modes, they give the lower 8,
# or of the last one both. FFmpeg took 1.4 times as long, and PyAV takes long to import.
_LOW_MODES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}
# By which Pillow multiplies the grey of 2 and 4 bits, but not the one that is transparent.
_GREY_SCALES = {"L;2": 85, "L;4": 17}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture, upright."""

    name: str  # what messages call it
    rgb: PhotoArray  # (H, W, 3) uint8 or uint16, in the picture's own colours
    alpha: PhotoArray | None = None  # (H, W) of the same type; 255 or 65535 is opaque
    format: str = ""  # Pillow's name of the file's format, "" if it did not come from a file
    colours: Colours | None = None  # what the values of `rgb` mean; None for sRGB
    icc_profile: bytes | None = None  # says the same to others; None if the picture has none
    metadata: Metadata = Metadata()  # what else the file says

    @property
    def grey(self) -> bool:
        """Whether the picture is greyscale: its three channels are equal."""
        return isinstance(self.colours, GreyColours)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]


@dataclass(frozen=True)
class Header:
    """What the header of a file says about the picture."""

    width: int  # in pixels, as in the file, before any rotation, as is the height
    height: int
    format: str  # Pillow's name
    deep: bool  # whether it has 16 bits
    transparent: bool  # whether it may have transparency
    animated: bool = False  # whether it has several frames, in a format that we write with several


def read_header(
    source: bytes | Path, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Header:
    """Read no more than the header; arguments and errors as for `decode`."""
    name = name or name_of(source)
    with open_stream(source, name) as stream, naming_damage(name, stream):
        image = open_image(stream, name, max_pixels)
        deep = image.mode.startswith("I") or _raw_mode(image) in _LOW_MODES
        return Header(
            *image.size,
            image.format or "",
            deep or getattr(image, "deep", False),
            image.has_transparency_data,
            is_animated(image),
        )


def is_animated(image: Image.Image) -> bool:
    """Return whether an opened picture is an animation, not a TIFF of pages or a phone's photo."""
    if image.format not in ANIMATED:
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except DAMAGE:  # behind the first frame
        return True


def decode(
    source: bytes | Path, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Picture:
    """Read a picture; its content decides the format, not its name.

    Args:
        source: the file, or what is in it.
        max_pixels: width times height; checked in the header, before memory is taken.
        name: what messages call it; the file's name by default.
    Returns:
        The picture, or the first one of an animation or of several pages: of 16 bits if it is grey
        or RGB of 16 bits in PNG or TIFF, or such grey in PNM; all others of 8.
    Raises:
        PictureError: missing, empty, cut off, damaged, too large, or not a picture.
    """
    name = name or name_of(source)
    with open_stream(source, name) as stream, naming_damage(name, stream):
        image = open_image(stream, name, max_pixels)
        mode = _raw_mode(image)
        if isinstance(image.info.get("transparency"), int):
            image.info["transparency"] *= _GREY_SCALES.get(mode, 1)
        load(image, name, max_pixels)
        if mode not in _LOW_MODES:
            return _read(image, name)
        low: Any = open_image(stream, name, max_pixels)
        low.tile = [tile._replace(args=_LOW_MODES[mode]) for tile in low.tile]
        return _read(image, name, _joined(image, load(low, name, max_pixels), mode))


def name_of(source: bytes | Path) -> str:
    """Return what messages call a source."""
    return "<bytes>" if isinstance(source, bytes) else str(source)


def read_image(image: Image.Image, name: str = "<image>") -> Picture:
    """Read a picture that Pillow has opened, as `decode` does; raise PictureError if that fails."""
    if 0 in image.size:
        raise PictureError(f"{name}: has no pixels")
    with naming_damage(name):
        image.load()
        return _read(image, name)


def _read(image: Image.Image, name: str, deep: Uint16Array | None = None) -> Picture:
    """Build a Picture from a loaded image, whose 16 bits `deep` has if Pillow has only 8."""
    # Phones put previews behind the photo (MPO); they are no animation.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        which = "the first" if image.tell() == 0 else "one of them"
        _logger.warning("%s: has more than one frame or page; only %s is used", name, which)
    metadata = read_metadata(image, name)
    return replace(without_metadata(image, name, deep), metadata=metadata)


def without_metadata(image: Image.Image, name: str, deep: Uint16Array | None = None) -> Picture:
    """Build a Picture without metadata from a loaded image; `deep` as in `_read`."""
    format = format_of(image)
    profile = None if image.mode == "LAB" else image.info.get("icc_profile")
    deep = _sixteen_bits(image, deep)
    if deep is not None and image.mode != "CMYK":
        example = Image.new("RGB" if deep.shape[2] > 2 else "L", (1, 1))
        _, colours, written = read_colours(example, profile, name)
        if written in (None, profile):
            channels = deep.shape[2]
            three = np.repeat(deep[..., :1], 3, axis=2) if channels < 3 else deep[..., :3]
            opacity = deep[..., -1].copy() if channels in (2, 4) else None
            return Picture(name, np.ascontiguousarray(three), opacity, format, colours, written)
    if deep is not None:
        _logger.warning("%s: its 16 bits become 8, because its colours are converted", name)
        mode = "CMYK" if image.mode == "CMYK" else ("L", "LA", "RGB", "RGBA")[deep.shape[2] - 1]
        image = Image.frombytes(mode, deep.shape[1::-1], to_eight_bits(deep).tobytes())
    elif image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # else it would be copied, too
        image = ImageOps.exif_transpose(image)
    alpha = np.array(image.convert("RGBA").getchannel("A")) if image.has_transparency_data else None
    opened, colours, written = read_colours(_plain(image, name), profile, name)
    rgb = _array(opened if opened.mode == "RGB" else opened.convert("RGB"))
    return Picture(name, rgb, alpha, format, colours, written)


def format_of(image: Image.Image) -> str:
    """Return Pillow's name of a format, but JPEG for the photos of phones; "" if there is none."""
    return "JPEG" if image.format == "MPO" else image.format or ""


def _raw_mode(image: Any) -> str:
    """Return Pillow's name for the pixels of an opened PNG as they are stored; "" for others."""
    return str(image.tile[0].args) if image.format == "PNG" and image.tile else ""


def _joined(high: Image.Image, low: Image.Image, mode: str) -> Uint16Array:
    """Combine upper and lower bytes: (H, W, C)."""
    if mode == "LA;16B":  # of which `low` has all four bytes
        whole: Uint16Array = np.asarray(low).view(">u2").astype(np.uint16)
        return whole
    values = np.asarray(high).astype(np.uint16)
    values <<= 8
    values |= np.asarray(low)
    return values


def _sixteen_bits(image: Image.Image, deep: Uint16Array | None) -> Uint16Array | None:
    """Return 16 bits upright, (H, W, 1 to 4), alpha last; None if there are 8."""
    if isinstance(image, TiffFile):
        return image.values
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        deep = np.asarray(image).astype(np.uint16)[..., None]
    if deep is None:
        return None
    if (transparent := image.info.get("transparency")) is not None:
        # One colour; Pillow would compare after clipping at 255.
        alpha = np.where((deep == transparent).all(axis=-1), 0, 65535).astype(np.uint16)
        deep = np.dstack([deep, alpha])
    return upright(deep, image.getexif().get(ExifTags.Base.Orientation))


def _plain(image: Image.Image, name: str) -> Image.Image:
    """Convert any kind of pixels to mode L, RGB or CMYK."""
    if image.mode in ("I", "F"):
        raise PictureError(f"{name}: has 32-bit values of unknown range; save 8 or 16 bits")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        exactly = ImageCms.Flags.NOOPTIMIZE
        transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB", flags=exactly)
        return transform.apply(image)
    if image.mode in ("1", "L", "LA"):
        return image.convert("L")
    if image.mode == "P":
        # Converting to RGB directly makes Pillow warn about transparency.
        image = image.convert("RGBA")
    return image if image.mode in ("RGB", "CMYK") else image.convert("RGB")


def _array(image: Image.Image) -> Uint8Array:
    """Copy the pixels, (H, W, 3), in strips: Pillow would need room for a second copy."""
    array = np.empty((image.height, image.width, 3), np.uint8)
    for part in strips_of(array):
        array[part] = np.asarray(image.crop((0, part.start, image.width, part.stop)))
    return array
