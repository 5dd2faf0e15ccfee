"""Picture files in and out: bytes of any kind <-> 8-bit sRGB arrays, with what is worth keeping."""

import codecs
import io
import logging
import struct
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from toonbox.errors import OutputError, PictureError
from toonbox.media.colour import to_srgb
from toonbox.media.metadata import kept_exif
from toonbox.pixels import Uint8Array

MAX_PIXELS = 200_000_000

# The formats we write; any other becomes PNG.
SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".avif": "AVIF",
}
_WITHOUT_ALPHA = ("JPEG", "BMP")

# Pillow runs other programs for these, or needs them to be drawn first.
_DRAWINGS = ("EPS", "WMF")

# How the files begin that people have most of; BMP and TIFF begin with words, too short to tell.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")

# Everything Pillow has been seen to raise for files that were cut off or altered.
_DAMAGE = (
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_pillow_limit = threading.Lock()
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture, upright and in sRGB.

    Attributes:
        name: what messages call it.
        rgb: (H, W, 3) uint8.
        alpha: (H, W) uint8, 255 is opaque; None if the file has no transparency.
        format: Pillow's name of the file's format, "" if it did not come from a file.
        icc_profile: an sRGB profile if the file had a profile at all.
        exif: the tags worth keeping, without orientation.
        dpi: horizontal and vertical, pixels per inch.
    """

    name: str
    rgb: Uint8Array
    alpha: Uint8Array | None = None
    format: str = ""
    icc_profile: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None


def decode(
    source: bytes | Path, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Picture:
    """Read a picture; its content decides the format, not its name.

    Args:
        source: the file, or what is in it.
        max_pixels: width times height; checked in the header, before memory is taken.
        name: what messages call it; the file's name by default.
    Returns:
        The picture, or the first one of an animation or of several pages.
    Raises:
        PictureError: missing, empty, cut off, damaged, too large, or not a picture.
    """
    name = name or ("<bytes>" if isinstance(source, bytes) else str(source))
    with _open_stream(source, name) as stream:
        try:
            image = _open_image(stream, name, max_pixels)
            return _read(image, name)
        except _DAMAGE as error:
            raise PictureError(f"{name}: {_reason(error, stream)}") from error


def read_image(image: Image.Image, name: str = "<image>") -> Picture:
    """Do the same with a picture that Pillow has opened.

    Raises:
        PictureError: Pillow cannot load it, or its kind of pixels cannot be used.
    """
    try:
        return _read(image, name)
    except _DAMAGE as error:
        raise PictureError(f"{name}: {_reason(error)}") from error


def to_image(picture: Picture, rgb: Uint8Array) -> Image.Image:
    """Make a Pillow image, RGB or RGBA, of `rgb` (H, W, 3) with all else from `picture`."""
    image = Image.fromarray(rgb)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    kept = {"icc_profile": picture.icc_profile, "exif": picture.exif, "dpi": picture.dpi}
    image.info.update({key: value for key, value in kept.items() if value is not None})
    return image


def encode(picture: Picture, rgb: Uint8Array, format: str, quality: int = 95) -> bytes:
    """Write `rgb` (H, W, 3) as a file, with the transparency and metadata of `picture`.

    Args:
        picture: where all but the colours comes from.
        rgb: same height and width as the picture.
        format: Pillow's name; PNG is written instead of a format that is not in SUFFIXES.
        quality: 1..100, of JPEG, WebP and AVIF.
    Returns:
        The file's bytes. A format without transparency gets a white background.
    Raises:
        OutputError: the format cannot hold this picture.
    """
    format = writable_format(format)
    image = to_image(picture, rgb)
    metadata = {str(key): value for key, value in image.info.items()}
    if picture.alpha is not None and format in _WITHOUT_ALPHA:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    buffer = io.BytesIO()
    try:
        image.save(buffer, format, **_save_options(format, quality), **metadata)
    except (KeyError, OSError, RuntimeError, ValueError, struct.error) as error:
        raise OutputError(f"{picture.name}: cannot be written as {format}: {error}") from error
    return buffer.getvalue()


def writable_format(format: str) -> str:
    """Name the format to write for a picture that was read as `format`."""
    return format if format in SUFFIXES.values() else "PNG"


def _save_options(format: str, quality: int) -> dict[str, Any]:
    match format:
        case "JPEG" | "AVIF":
            # Outlines are thin and coloured: halved colour would fray them.
            return {"quality": quality, "subsampling": "4:4:4"}
        case "WEBP":
            return {"quality": quality}
        case _:
            # TIFF too: Pillow fails at compressed ones that have EXIF data.
            return {}


def _open_stream(source: bytes | Path, name: str) -> BinaryIO:
    try:
        stream: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
    except FileNotFoundError as error:
        raise PictureError(f"{name}: no such file") from error
    except OSError as error:
        folder = isinstance(source, Path) and source.is_dir()
        reason = "is a folder, not a picture" if folder else f"cannot be read: {error.strerror}"
        raise PictureError(f"{name}: {reason}") from error
    return stream


def _open_image(stream: BinaryIO, name: str, max_pixels: int) -> Image.Image:
    """Read the header."""
    if not stream.read(1):
        raise PictureError(f"{name}: is empty")
    too_large = (
        f"{name}: is larger than the limit of {max_pixels:,} pixels "
        "(max_pixels, on the command line --max-pixels, raises it)"
    )
    # Pillow has one limit for the whole process, ours belongs to this call. Some of its readers
    # take memory while they open, so its limit is replaced rather than lifted.
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            image = Image.open(stream)
            if image.width * image.height > max_pixels:
                raise PictureError(too_large)
            if image.format == "TIFF":
                # Its reader looks at the limit once more when it loads.
                image.load()
        except Image.DecompressionBombError as error:
            raise PictureError(too_large) from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    if image.format in _DRAWINGS:
        raise PictureError(f"{name}: is a drawing ({image.format}), not a picture")
    return image


def _read(image: Image.Image, name: str) -> Picture:
    # Phones put previews behind the photo (MPO); they are no animation.
    format = "JPEG" if image.format == "MPO" else image.format or ""
    if format != "JPEG" and getattr(image, "is_animated", False):
        _logger.warning("%s: has more than one frame or page; only the first is used", name)
    image.load()
    exif = kept_exif(image, name)
    profile, dpi = image.info.get("icc_profile"), image.info.get("dpi")
    image = ImageOps.exif_transpose(image)
    colours, profile = to_srgb(_eight_bit(image, format, name), profile, name)
    return Picture(
        name=name,
        rgb=np.array(colours),
        alpha=_alpha(image),
        format=format,
        icc_profile=profile,
        exif=exif,
        dpi=dpi,
    )


def _alpha(image: Image.Image) -> Uint8Array | None:
    if not image.has_transparency_data:
        return None
    if image.mode.startswith("I;16"):
        # Pillow would compare after clipping at 255.
        return np.where(np.asarray(image) == image.info["transparency"], 0, 255).astype(np.uint8)
    return np.array(image.convert("RGBA").getchannel("A"))


def _eight_bit(image: Image.Image, format: str, name: str) -> Image.Image:
    """Bring any kind of pixels to L, RGB or CMYK."""
    if image.mode.startswith("I;16") or (image.mode == "I" and format == "PPM"):
        # Pillow would clip at 255. Rounded to the nearest: 65535 = 255 * 257.
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise PictureError(f"{name}: has 32-bit values without a known white; save it with 8 or 16")
    if image.mode in ("1", "L", "LA"):
        return image.convert("L")
    if image.mode == "P":
        # Pillow warns about transparency on the direct way.
        image = image.convert("RGBA")
    return image if image.mode == "CMYK" else image.convert("RGB")


def _reason(error: BaseException, stream: BinaryIO | None = None) -> str:
    """Say in a few words why Pillow gave up."""
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    if isinstance(error, Image.DecompressionBombError):
        return f"is too large: {error}"
    head, size = _head_and_size(stream) if stream is not None else (b"", 0)
    if isinstance(error, UnidentifiedImageError):
        return _not_a_picture(head)
    webp_cut_off = head[8:12] == b"WEBP" and int.from_bytes(head[4:8], "little") + 8 > size
    if "truncat" in str(error).lower() or isinstance(error, EOFError) or webp_cut_off:
        return "ends before the picture is complete"
    return f"is damaged: {error}"


def _head_and_size(stream: BinaryIO) -> tuple[bytes, int]:
    stream.seek(0)
    head = stream.read(4096)
    return head, stream.seek(0, io.SEEK_END)


def _not_a_picture(head: bytes) -> str:
    if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "is a HEIC picture, which cannot be read; convert it to JPEG first"
    if head.startswith(_SIGNATURES) or head[4:12] == b"ftypavif":
        return "begins like a picture, but its header is damaged or cut off"
    try:
        # Incremental, because the last character may be cut in two.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "is not a picture"
    return "is not a picture" if b"\0" in head else "is text, not a picture"
