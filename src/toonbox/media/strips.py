"""Picture files written strip by strip, so that nothing of a picture need be in memory whole.

Values come as uint8 or uint16, (rows, W, C), C being 1 for grey, 2 for grey and alpha, 3 or 4. What
is not pixels comes from a model: a file of the same format with any pixels, as Pillow writes it,
whose metadata are taken over.
"""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from PIL.TiffTags import LONG, LONG8, TAGS_V2_GROUPS

from toonbox.errors import OutputError
from toonbox.media.metadata import exif_folder
from toonbox.media.png import SIGNATURE, chunk
from toonbox.pixels import STRIP_PIXELS, PhotoArray

FORMATS = ("JPEG", "PNG", "TIFF")
_JPEG_SIDE = 65500  # the most that libjpeg writes
_RESTART_LIMIT = 65535  # blocks between two restart markers
_PNG_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_CLASSIC_TIFF = 1 << 32  # bytes that its offsets reach
_BIG_TIFF_HEAD = b"II+\0\x08\0\0\0" + bytes(8)

Shape = tuple[int, int, int]  # height, width, channels


def write_png(stream: BinaryIO, model: bytes, shape: Shape, strips: Iterable[PhotoArray]) -> None:
    """Write a PNG, each row as its difference from the one above: that suits smooth pictures."""
    height, width, channels = shape
    first, *rest = ((kind, data) for kind, data in png_chunks(io.BytesIO(model)))
    before = [part for part in rest if part[0] not in (b"IDAT", b"IEND")]
    deflate = zlib.compressobj(6)
    above: Any = None
    stream.write(SIGNATURE)
    for values in strips:
        rows = values.astype(values.dtype.newbyteorder(">"), copy=False)
        rows = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
        if above is None:
            bits, colour_type = 8 * values.dtype.itemsize, _PNG_COLOUR_TYPES[channels]
            head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
            for kind, data in [(first[0], head), *before]:
                stream.write(chunk(kind, data))
            above = np.zeros((1, rows.shape[1]), np.uint8)
        filtered = np.full((len(rows), rows.shape[1] + 1), 2, np.uint8)
        filtered[:, 1:] = np.diff(rows, axis=0, prepend=above)
        above = rows[-1:].copy()
        if packed := deflate.compress(filtered.tobytes()):
            stream.write(chunk(b"IDAT", packed))
    stream.write(chunk(b"IDAT", deflate.flush()))
    stream.write(chunk(b"IEND", b""))


def png_chunks(stream: BinaryIO, without: tuple[bytes, ...] = ()) -> Iterator[tuple[bytes, bytes]]:
    """Give the chunks of a PNG, kind and data; of the kinds in `without` only that they exist."""
    stream.seek(len(SIGNATURE))
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in without:
            stream.seek(length, io.SEEK_CUR)
            yield kind, b""
        else:
            yield kind, stream.read(length)
        stream.seek(4, io.SEEK_CUR)


def without_pixels(stream: BinaryIO) -> bytes:
    """Give a PNG of one black pixel with all else that stands in another."""
    parts = io.BytesIO()
    parts.write(SIGNATURE)
    head, *others = png_chunks(stream, without=(b"IDAT",))
    parts.write(chunk(b"IHDR", struct.pack(">II", 1, 1) + head[1][8:12] + b"\0"))
    written = False
    for kind, data in others:
        if kind != b"IDAT":
            parts.write(chunk(kind, data))
        elif not written:
            written = True
            parts.write(chunk(kind, zlib.compress(bytes(9))))
    return parts.getvalue()


def write_tiff(stream: BinaryIO, model: bytes, shape: Shape, strips: Iterable[PhotoArray]) -> None:
    """Write a TIFF without compression, a BigTIFF if it is too large for the other one."""
    height, width, channels = shape
    strips = iter(strips)
    first = next(strips)
    row = width * channels * first.dtype.itemsize
    rows = max(1, STRIP_PIXELS // width)
    starts = range(0, height * row, rows * row)
    big = height * row + 16 * len(starts) + 2 * len(model) >= _CLASSIC_TIFF
    tags = ImageFileDirectory_v2(_BIG_TIFF_HEAD if big else b"II*\0\0\0\0\0", prefix=b"II")
    with Image.open(io.BytesIO(model)) as opened:
        exif = opened.getexif()
        for tag in exif:
            tags[tag] = exif_folder(exif, tag) if tag in TAGS_V2_GROUPS else exif[tag]
    tags[256], tags[257], tags[258] = width, height, (8 * first.dtype.itemsize,) * channels
    tags[259], tags[262] = 1, 2 if channels > 2 else 1
    tags.tagtype[273] = tags.tagtype[279] = LONG8 if big else LONG
    tags[273] = tuple(starts)
    tags[279] = tuple(min(rows * row, height * row - start) for start in starts)
    tags[277], tags[278], tags[284] = channels, rows, 1
    if channels in (2, 4):
        tags[338] = 2  # straight alpha
    tags.save(stream)
    for values in (first, *strips):
        stream.write(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())


def write_jpeg(
    stream: BinaryIO,
    model: bytes,
    shape: Shape,
    strips: Iterable[PhotoArray],
    options: dict[str, Any],
) -> None:
    """Write a JPEG: strips are encoded one by one, and joined by restart markers.

    A JPEG may begin anew after any number of blocks, for decoders to find their way after an error.
    So the scans of strips that share their tables can follow each other, and the pixels are those
    of the picture encoded whole.

    Args:
        stream, model, shape, strips: as for the others, 8 bits without alpha.
        options: for Pillow; no chroma subsampling, and tables that do not depend on the picture.
    Raises:
        OutputError: a side is too long for JPEG.
    """
    height, width, _ = shape
    if max(height, width) > _JPEG_SIDE:
        raise OutputError(
            f"a JPEG's sides have at most {_JPEG_SIDE:,} pixels; --format png or tiff"
        )
    across = -(-width // 8)
    down = max(1, min(_RESTART_LIMIT // across, STRIP_PIXELS // width // 8))
    stream.write(b"\xff\xd8")
    for marker, data in _jpeg_segments(model)[0]:
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            _write_segment(stream, marker, data)
    for number, values in enumerate(regrouped(strips, 8 * down)):
        buffer = io.BytesIO()
        Image.fromarray(values.squeeze(2) if values.shape[2] == 1 else values).save(
            buffer, "JPEG", **options
        )
        segments, scan = _jpeg_segments(buffer.getvalue())
        if number == 0:
            for marker, data in segments:
                if marker == 0xC0:
                    data = data[:1] + struct.pack(">HH", height, width) + data[5:]
                if marker == 0xDA:
                    _write_segment(stream, 0xDD, struct.pack(">H", across * down))
                if not 0xE0 <= marker <= 0xEF:
                    _write_segment(stream, marker, data)
        else:
            stream.write(bytes([0xFF, 0xD0 + (number - 1) % 8]))
        stream.write(scan)
    stream.write(b"\xff\xd9")


def regrouped(strips: Iterable[PhotoArray], rows: int) -> Iterator[PhotoArray]:
    """Give the same rows in strips of `rows` each, the last one perhaps fewer."""
    waiting: list[PhotoArray] = []
    count = 0
    for strip in strips:
        waiting.append(strip)
        count += len(strip)
        while count >= rows:
            joined = np.concatenate(waiting)
            yield joined[:rows]
            waiting, count = [joined[rows:]], count - rows
    if count:
        yield np.concatenate(waiting)


def _write_segment(stream: BinaryIO, marker: int, data: bytes) -> None:
    stream.write(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data)


def _jpeg_segments(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Take a JPEG of one scan apart: markers with their data up to the scan's, and the scan."""
    segments, place = [], 2
    while True:
        _, marker, length = struct.unpack_from(">BBH", data, place)
        segments.append((marker, data[place + 4 : place + 2 + length]))
        place += 2 + length
        if marker == 0xDA:
            return segments, data[place:-2]
