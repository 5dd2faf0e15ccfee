"""Opening and loading picture files with limits, and saying in a few words why one cannot be."""

import codecs
import io
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from toonbox.errors import PictureError
from toonbox.media.bmp import BmpFile
from toonbox.media.tiff import PREFIXES, TiffFile, UnsupportedError

# Pillow runs other programs for these, or needs them to be drawn first.
_DRAWINGS = ("EPS", "WMF")

# How the files begin that people have most of; BMP and TIFF begin with words, too short to tell.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1", b"miaf"),
    *(b"avci", b"j2ki", b"jpeg", b"unif", b"vvic"),
)
# Kinds of pictures inside that our reader of HEIF does not know.
_HEIF_ITEM = re.compile(rb"infe[\2\3].{7,9}?(unci|avc1|j2k1|jpeg|vvc1)", re.DOTALL)
_HEIF_KINDS = {
    b"unci": "uncompressed",
    b"avc1": "compressed with AVC",
    b"j2k1": "compressed with JPEG 2000",
    b"jpeg": "compressed with JPEG",
    b"vvc1": "compressed with VVC",
}

# Everything Pillow has been seen to raise for files that were cut off or altered.
DAMAGE = (
    ArithmeticError,
    AssertionError,
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


def open_stream(source: bytes | Path, name: str) -> BinaryIO:
    """Open a file, or what is in it; a pipe is read to its end.

    Raises:
        PictureError: missing, a folder, or not readable.
    """
    try:
        stream: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        if not stream.seekable():
            with stream:
                return io.BytesIO(stream.read())
    except FileNotFoundError as error:
        raise PictureError(f"{name}: no such file") from error
    except OSError as error:
        folder = isinstance(source, Path) and source.is_dir()
        reason = "is a folder, not a picture" if folder else f"cannot be read: {error.strerror}"
        raise PictureError(f"{name}: {reason}") from error
    return stream


def open_image(stream: BinaryIO, name: str, max_pixels: int) -> Image.Image:
    """Read the header.

    Raises:
        PictureError: empty, larger than `max_pixels`, or a drawing; one of DAMAGE for the rest.
    """
    stream.seek(0)
    head = stream.read(12)
    if not head:
        raise PictureError(f"{name}: is empty")
    with _limit(name, max_pixels):
        image = _open(stream, head, name)
        if image.width * image.height > max_pixels:
            raise Image.DecompressionBombError
    if image.format in _DRAWINGS:
        raise PictureError(f"{name}: is a drawing ({image.format}), not a picture")
    return image


def load(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    """Decode what `open_image` has opened; errors as there."""
    if image.format == "TIFF":
        # Its reader looks at the limit once more.
        with _limit(name, max_pixels):
            image.load()
    image.load()
    return image


def reason(error: BaseException, stream: BinaryIO | None = None) -> str:
    """Say in a few words why Pillow gave up."""
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    if isinstance(error, Image.DecompressionBombError):
        return f"is too large: {error}"
    if isinstance(error, UnsupportedError):
        return f"is not supported: {error}"
    head, size = _head_and_size(stream) if stream is not None else (b"", 0)
    if isinstance(error, UnidentifiedImageError):
        return _not_a_picture(head)
    webp_cut_off = head[8:12] == b"WEBP" and int.from_bytes(head[4:8], "little") + 8 > size
    if "truncat" in str(error).lower() or isinstance(error, EOFError) or webp_cut_off:
        return "ends before the picture is complete"
    if re.search(r"\bunsupported|\bnot (yet )?supported", str(error), re.IGNORECASE):
        return f"is not supported: {error}"
    return f"is damaged: {error}" if str(error) else "is damaged"


@contextmanager
def _limit(name: str, max_pixels: int) -> Iterator[None]:
    """Pillow has one limit for the whole process, ours belongs to this call.

    Some of its readers take memory while they open, so its limit is replaced rather than lifted.
    """
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield
        except Image.DecompressionBombError as error:
            raise PictureError(
                f"{name}: is larger than the limit of {max_pixels:,} pixels "
                "(max_pixels, on the command line --max-pixels, raises it)"
            ) from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _open(stream: BinaryIO, head: bytes, name: str) -> Image.Image:
    stream.seek(0)
    if head.startswith(PREFIXES):
        return TiffFile(stream)
    if head.startswith(b"BM"):
        return BmpFile(stream)
    try:
        return Image.open(stream)
    except UnidentifiedImageError:
        if head[4:8] != b"ftyp" or head[8:12] not in _HEIF_BRANDS:
            raise
        return _open_heif(stream, name)


def _open_heif(stream: BinaryIO, name: str) -> Image.Image:
    try:
        from pi_heif import HeifImageFile
    except ModuleNotFoundError as error:
        raise PictureError(
            f"{name}: is a HEIC picture; to read those: pip install 'toonbox[heic]'"
        ) from error
    stream.seek(0)
    try:
        image: Image.Image = HeifImageFile(stream)
    except SyntaxError as error:
        if found := _HEIF_ITEM.search(_head_and_size(stream)[0]):
            raise UnsupportedError(f"a HEIF picture {_HEIF_KINDS[found[1]]}") from error
        raise
    return image


def _head_and_size(stream: BinaryIO) -> tuple[bytes, int]:
    stream.seek(0)
    head = stream.read(4096)
    return head, stream.seek(0, io.SEEK_END)


def _not_a_picture(head: bytes) -> str:
    brands = (*_AVIF_BRANDS, *_HEIF_BRANDS)
    known = head.startswith(_SIGNATURES) or (head[4:8] == b"ftyp" and head[8:12] in brands)
    if known:
        return "begins like a picture, but its header is damaged or cut off"
    try:
        # Incremental, because the last character may be cut in two.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "is not a picture"
    return "is not a picture" if b"\0" in head else "is text, not a picture"
