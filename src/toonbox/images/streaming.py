"""Stream pictures too large for memory; libvips reads them (pip install 'toonbox[huge]')."""

import io
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from PIL.TiffTags import LONG, LONG8, TAGS_V2_GROUPS

from toonbox.errors import MissingExtraError, OutputError, PictureError
from toonbox.images.metadata import jpeg_segments, read_metadata
from toonbox.images.picture import Picture, format_of, load, naming_damage, open_image, open_stream
from toonbox.images.tiff import TiffFile
from toonbox.options import MAX_PIXELS
from toonbox.pixels import STRIP_PIXELS, PhotoArray, read_colours

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


# Encoded here because FFmpeg and Pillow only take whole pictures.
FORMATS = ("JPEG", "PNG", "TIFF")
_JPEG_SIDE = 65500  # the most that libjpeg writes
_RESTART_LIMIT = 65535  # blocks between two restart markers
_CLASSIC_TIFF = 1 << 32  # bytes, the limit of its offsets
_BIG_TIFF_HEAD = b"II+\0\x08\0\0\0" + bytes(8)

Shape = tuple[int, int, int]  # height, width, channels


def png_chunks(stream: BinaryIO, *, pixels: bool = True) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and data of each chunk of a PNG, perhaps without the data of pixels.

    Raise EOFError if it is cut off within a chunk, ValueError for a wrong checksum.
    """
    stream.seek(len(SIGNATURE))
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in (b"IDAT", b"fdAT") and not pixels:
            stream.seek(length + 4, io.SEEK_CUR)
            yield kind, b""
            continue
        data, checksum = stream.read(length), stream.read(4)
        if len(checksum) < 4:
            raise EOFError("truncated PNG")
        if zlib.crc32(kind + data) != int.from_bytes(checksum):
            raise ValueError(f"wrong checksum in {kind!r}")
        yield kind, data


def with_pixels(
    stream: BinaryIO, size: tuple[int, ...], pixels: Iterable[bytes], bits: int | None = None
) -> Iterator[bytes]:
    """Yield the PNG in `stream` piece by piece, without its chunks for animation.

    It gets another width and height, other chunks of pixels, not interlaced, and perhaps other
    `bits` of each value.
    """
    yield SIGNATURE
    pixels = iter(pixels)
    for kind, data in png_chunks(stream, pixels=False):
        match kind:
            case b"IHDR":
                kinds = bytes([bits or data[8], *data[9:12], 0])
                yield chunk(kind, struct.pack(">II", *size) + kinds)
            case b"IDAT":  # of which there may be several
                yield from pixels
            case b"acTL" | b"fcTL" | b"fdAT":
                pass
            case _:
                yield chunk(kind, data)


def without_pixels(stream: BinaryIO) -> bytes:
    """Return a PNG of one black pixel with the metadata of another PNG."""
    pixel = chunk(b"IDAT", zlib.compress(bytes(9)))
    return b"".join(with_pixels(stream, (1, 1), [pixel]))


def write_png(
    stream: BinaryIO, model: bytes, shape: Shape, bits: int, strips: Iterable[PhotoArray]
) -> None:
    """Write a PNG with the chunks of a model of as many channels, but for its size and pixels."""

    def compressed() -> Iterator[bytes]:
        deflate = zlib.compressobj(6)
        for rows in _filtered(strips):
            if packed := deflate.compress(rows):
                yield chunk(b"IDAT", packed)
        yield chunk(b"IDAT", deflate.flush())

    stream.writelines(with_pixels(io.BytesIO(model), shape[1::-1], compressed(), bits))


def _filtered(strips: Iterable[PhotoArray]) -> Iterator[bytes]:
    """Yield the rows of a PNG with the filter Up, which suits smooth pictures."""
    above: Any = 0
    for values in strips:
        rows = values.astype(values.dtype.newbyteorder(">"), copy=False)
        rows = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
        filtered = np.full((len(rows), rows.shape[1] + 1), 2, np.uint8)
        filtered[0, 1:] = rows[0] - above
        filtered[1:, 1:] = rows[1:] - rows[:-1]
        above = rows[-1].copy()
        yield filtered.tobytes()


def write_tiff(
    stream: BinaryIO, model: bytes, shape: Shape, bits: int, strips: Iterable[PhotoArray]
) -> None:
    """Write a TIFF with the tags of a model, uncompressed; a BigTIFF if it would exceed 4 GB."""
    height, width, channels = shape
    row = width * channels * bits // 8
    rows = max(1, STRIP_PIXELS // width)
    starts = range(0, height * row, rows * row)
    big = height * row + 16 * len(starts) + 2 * len(model) >= _CLASSIC_TIFF
    tags = ImageFileDirectory_v2(_BIG_TIFF_HEAD if big else b"II*\0\0\0\0\0", prefix=b"II")
    with Image.open(io.BytesIO(model)) as opened:
        exif = opened.getexif()
        for tag in exif:
            tags[tag] = exif.get_ifd(tag) if tag in TAGS_V2_GROUPS else exif[tag]
    tags[256], tags[257], tags[258] = width, height, (bits,) * channels
    tags[259], tags[262] = 1, 2 if channels > 2 else 1
    tags.tagtype[273] = tags.tagtype[279] = LONG8 if big else LONG
    tags[273] = tuple(starts)
    tags[279] = tuple(min(rows * row, height * row - start) for start in starts)
    tags[277], tags[278], tags[284] = channels, rows, 1
    if channels in (2, 4):
        tags[338] = 2  # straight alpha
    tags.save(stream)
    for values in strips:
        stream.write(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())


def write_jpeg(
    stream: BinaryIO, model: bytes, shape: Shape, strips: Iterable[PhotoArray], quality: int
) -> None:
    """Write a JPEG with the segments of a model, of strips joined by restart markers.

    A JPEG may begin anew after any number of blocks, for decoders to find their way after an error.
    So the scans of strips that share their tables can follow each other, and the pixels are those
    of the picture encoded whole. The model is a JPEG of the same quality and mode. Raise
    OutputError if a side is too long for JPEG.
    """
    height, width, _ = shape
    if max(height, width) > _JPEG_SIDE:
        raise OutputError(
            f"a JPEG has at most {_JPEG_SIDE:,} pixels on a side; use --format png or tiff"
        )
    across = -(-width // 8)
    down = max(1, min(_RESTART_LIMIT // across, STRIP_PIXELS // width // 8))
    stream.write(b"\xff\xd8")
    for marker, data in jpeg_segments(io.BytesIO(model)):
        if marker == 0xC0:
            data = data[:1] + struct.pack(">HH", height, width) + data[5:]
        if marker == 0xDA:
            stream.write(struct.pack(">BBHH", 0xFF, 0xDD, 4, across * down))
        stream.write(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data)
    for number, values in enumerate(regrouped(strips, 8 * down)):
        if number > 0:
            stream.write(bytes([0xFF, 0xD0 + (number - 1) % 8]))
        buffer = io.BytesIO()
        image = Image.fromarray(values.squeeze(2) if values.shape[2] == 1 else values)
        image.save(buffer, "JPEG", quality=quality, subsampling="4:4:4")
        deque(jpeg_segments(buffer), maxlen=0)  # what follows is the scan
        stream.write(buffer.read()[:-2])
    stream.write(b"\xff\xd9")


def regrouped(strips: Iterable[PhotoArray], rows: int) -> Iterator[PhotoArray]:
    """Yield the same rows in strips of `rows` each, the last one perhaps fewer."""
    waiting: PhotoArray | None = None
    for strip in strips:
        waiting = strip if waiting is None else np.concatenate([waiting, strip])
        while len(waiting) >= rows:
            yield waiting[:rows]
            waiting = waiting[rows:]
    if waiting is not None and len(waiting):
        yield waiting


ADVICE = "pip install 'toonbox[huge]' to stream it row by row"
_BLOCK = 128  # rows read at once, the height of most tiles
_TYPES = {"uchar": np.uint8, "ushort": np.uint16}


def can_stream() -> bool:
    """Return whether libvips is installed."""
    return find_spec("pyvips") is not None


def open_huge(source: Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Open a JPEG, PNG or TIFF as `decode` does, but leave its pixels in the file, as `FileRows`.

    Raises:
        MissingExtraError: libvips is not installed.
        PictureError: as in `decode`, or of a kind that cannot be streamed.
    """
    if not can_stream():
        raise MissingExtraError(f"{source}: {ADVICE}")
    name = str(source)
    with open_stream(source, name) as stream, naming_damage(name, stream):
        image = open_image(stream, name, max_pixels)
        format = format_of(image)
        if format not in FORMATS:
            raise PictureError(f"{name}: only {', '.join(FORMATS)} can be streamed")
        if isinstance(image, TiffFile) and (image.multiplied or image.unconverted):
            kind = "premultiplied alpha" if image.multiplied else "YCbCr"
            raise PictureError(f"{name}: its kind of pixels cannot be streamed ({kind})")
        if format == "PNG":  # whose metadata may follow the pixels
            image = open_image(io.BytesIO(without_pixels(stream)), name, max_pixels)
            load(image, name, max_pixels)
        metadata, profile = read_metadata(image, name), image.info.get("icc_profile")
        upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        transparent = image.has_transparency_data
    rgb: Any = FileRows(source, upright, alpha=False)
    transparent = transparent and rgb.bands in (2, 4)  # a fourth channel may be anything
    alpha: Any = FileRows(source, upright, alpha=True) if transparent else None
    mode = "L" if rgb.bands < 3 else "RGB"
    _, colours, written = read_colours(Image.new(mode, (1, 1)), profile, name)
    if written is not None and written != profile:
        raise PictureError(f"{name}: its colours cannot be converted row by row")
    return Picture(name, rgb, alpha, format, colours, written, metadata)


class FileRows:
    """The rows of a picture file, upright; asking for earlier rows restarts from the top."""

    def __init__(self, source: Path, upright: bool, alpha: bool) -> None:
        self._source, self._upright, self._alpha = source, upright, alpha
        self._start = 0  # of the block, in rows
        image = self._restart()
        self.bands: int = image.bands  # channels in the file
        if image.format not in _TYPES or image.interpretation == "cmyk" or self.bands > 4:
            what = f"{image.interpretation}, {image.format}"
            raise PictureError(f"{source}: its kind of pixels cannot be streamed ({what})")
        self.dtype = np.dtype(_TYPES[image.format])
        self.shape = (image.height, image.width) + (() if alpha else (3,))
        self._block: PhotoArray = np.empty((0, *self.shape[1:]), self.dtype)

    def __getitem__(self, rows: slice) -> PhotoArray:
        """Return rows; raise PictureError if the file is damaged."""
        start, stop, _ = rows.indices(self.shape[0])
        if start < self._start:
            self._restart()
            self._block = self._block[:0].copy()
        place = self._start + len(self._block)
        if stop > place:
            count = min(-(-(stop - place) // _BLOCK) * _BLOCK, self.shape[0] - place)
            with _damage(self._source):
                data = self._region.fetch(0, place, self.shape[1], count)
            read = np.frombuffer(data, self.dtype).reshape(count, -1, self.bands)
            if self._alpha:
                read = read[..., -1]
            else:
                read = np.repeat(read[..., :1], 3, axis=2) if self.bands < 3 else read[..., :3]
            block = np.concatenate([self._block[start - self._start :], read])
            self._block, self._start = block[max(0, start - place) :], start
        return self._block[start - self._start : stop - self._start]

    def _restart(self) -> Any:
        """Open the file at its top; return the image."""
        import pyvips

        with _damage(self._source):
            # revalidate: readers keep their position, so cached ones must not be shared.
            image: Any = pyvips.Image.new_from_file(
                str(self._source),
                access="sequential" if self._upright else "random",
                fail_on="error",
                revalidate=True,
            )
            image = image if self._upright else image.autorot()
            self._region = pyvips.Region.new(image)
        self._start = 0
        return image


@contextmanager
def _damage(source: Path) -> Iterator[None]:
    import pyvips

    try:
        yield
    except pyvips.Error as error:
        lines = str(error).strip().splitlines()
        raise PictureError(f"{source}: is damaged: {lines[-1] if lines else error}") from error
