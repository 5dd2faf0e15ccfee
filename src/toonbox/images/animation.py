"""Animations: decode all frames as they are displayed, and encode their cartoons."""

import io
import logging
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from toonbox.atomic import ffmpeg_errors
from toonbox.errors import OutputError, TooLargeError
from toonbox.images.encode import channels_of, encode_one_pixel, image_of, save_options, written_rgb
from toonbox.images.formats import check_options
from toonbox.images.metadata import Metadata, read_metadata
from toonbox.images.picture import (
    Picture,
    decode,
    is_animated,
    load,
    name_of,
    naming_damage,
    open_image,
    open_stream,
    without_metadata,
)
from toonbox.images.streaming import SIGNATURE, chunk, png_chunks, with_pixels, without_pixels
from toonbox.options import MAX_PIXELS
from toonbox.pixels import PhotoArray, Uint8Array

FOREVER = 0  # of `Animation.plays`

# The shortest and longest frames, in milliseconds; libavif replaces 0 by 1.
_LIMITS = {"WEBP": (0, (1 << 24) - 1), "AVIF": (1, None)}
_LEAST = 4096  # pixels that a frame counts for at least: small ones take time, too

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Animation:
    """An animation whose frames have all been decoded once: they are known to be readable."""

    name: str  # what messages call it
    format: str  # GIF, PNG, WEBP or AVIF
    size: tuple[int, int]  # width and height of every frame, upright
    durations: tuple[Fraction, ...]  # of each frame, in milliseconds
    plays: int  # how often it is shown; 0 is for ever
    transparent: bool  # whether the frames have alpha, because one of them is not opaque
    metadata: Metadata  # what else the file says; the frames have none
    # Decodes them once more, one after the other, each as it is seen, of 8 bits.
    frames: Callable[[], Iterator[Picture]]


def read_animation(
    source: bytes | Path, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Picture | Animation:
    """Read an animation, or a picture as `decode` does if it does not move.

    Arguments and errors are those of `decode`; all frames of an animation count together for
    `max_pixels`, and any of them may be damaged. Of several pages of a TIFF, the first is read.
    """
    name = name or name_of(source)
    with open_stream(source, name) as stream, naming_damage(name, stream):
        image = open_image(stream, name, max_pixels)
        if not is_animated(image):
            return decode(source, max_pixels=max_pixels, name=name)
        stream.seek(0)
        data = stream.read()
        if image.format == "GIF":
            return _read_gif(data, image, max_pixels, name)
        if image.format == "PNG":
            return _read_apng(data, image, max_pixels, name)
        return _read_webp_or_avif(data, image, max_pixels, name)


# What decodes the frames: each as it is seen, and for how many milliseconds.
Images = Callable[[], Iterator[tuple[Image.Image, Fraction]]]


def _gif_frames(data: bytes) -> Iterator[bytes]:
    """Split a GIF into its frames as they are stored, each a GIF of its own."""
    at = 13 + _table_size(data[10])
    head, without_palette, start = data[:at], data[:10] + bytes(3), at
    while at < len(data) and data[at] != ord(";"):
        kind, flags = data[at], 0
        if kind == ord("!"):
            at += 2
        elif kind == ord(","):
            flags = data[at + 9]
            at += 11 + _table_size(flags)
        else:  # which other readers skip, too
            at += 1
            continue
        while data[at]:
            at += data[at] + 1
        at += 1
        if kind == ord(","):
            # Of two palettes Pillow takes the wrong one, if the frame's own has greys only.
            yield (without_palette if flags & 0x80 else head) + data[start:at] + b";"
            start = at


def _table_size(flags: int) -> int:
    """Return the bytes of a GIF's table of colours; 0 if there is none."""
    return 6 << (flags & 7) if flags & 0x80 else 0


def _read_gif(data: bytes, base: Image.Image, max_pixels: int, name: str) -> Animation:
    try:
        files = list(_gif_frames(data))
    except IndexError as error:
        raise EOFError("truncated GIF") from error
    _check_limit(base.size, len(files), max_pixels, name)  # first, as opening them takes time
    sizes = [open_image(io.BytesIO(file), name, max_pixels).size for file in files]
    _check_limit(max(base.size, *sizes, key=math.prod), len(files), max_pixels, name)
    if not data.rstrip(b"\0").endswith(b";"):
        _logger.warning("%s: has no end marker; frames may be missing", name)
    again = base.info.get("loop")
    plays = 1 if again is None else again + 1 if again else FOREVER

    def images() -> Iterator[tuple[Image.Image, Fraction]]:
        # Pillow and FFmpeg clear to an opaque colour where all browsers clear to nothing.
        canvas = Image.new("RGBA", base.size)
        for file in files:
            alone: Any = open_image(io.BytesIO(file), name, max_pixels)
            box, disposal = alone.tile[0].extents, alone.disposal_method
            before = canvas.copy() if disposal == 3 else canvas
            canvas.alpha_composite(alone.crop(box).convert("RGBA"), box[:2])
            yield canvas, Fraction(alone.info.get("duration", 0))
            canvas = before
            if disposal == 2:
                canvas.paste((0, 0, 0, 0), box)

    return _looked_through(base, "GIF", plays, name, images)


def _read_apng(data: bytes, still: Image.Image, max_pixels: int, name: str) -> Animation:
    if b"IEND\xaeB`\x82" not in data:
        raise EOFError("truncated PNG")
    durations, hidden = list[Fraction](), False
    for kind, content in png_chunks(io.BytesIO(data)):
        match kind:
            case b"IHDR" if struct.unpack_from(">2I", content) != still.size:
                raise ValueError("has two sizes")  # of which FFmpeg takes another than Pillow
            case b"acTL":
                count, plays = struct.unpack(">2I", content)
                _check_limit(still.size, count, max_pixels, name)
            case b"fcTL":
                delay, unit = struct.unpack_from(">2H", content, 20)
                durations.append(Fraction(1000 * delay, unit or 100))
            case b"IDAT":
                hidden |= not durations
    _check_limit(still.size, len(durations), max_pixels, name)  # may be more than `count`
    if hidden:
        text = "its picture for viewers that show no animations is left out"
        _logger.warning("%s: %s; they see the first frame", name, text)
    base = open_image(io.BytesIO(without_pixels(io.BytesIO(data))), name, max_pixels)
    load(base, name, max_pixels)
    mode = "LA" if base.mode in ("1", "L", "LA", "I;16", "I") else "RGBA"
    info = {key: value for key, value in base.info.items() if key != "transparency"}

    def images() -> Iterator[tuple[Image.Image, Fraction]]:
        import av  # takes long

        number = 0
        with ffmpeg_errors(), av.open(io.BytesIO(data), "r", "apng") as opened:
            for number, frame in enumerate(opened.decode(video=0), 1):
                image = Image.fromarray(frame.to_ndarray(format="rgba")).convert(mode)
                image.info = info.copy()
                yield image, durations[number - 1]
        if number < count:
            raise EOFError("truncated PNG")

    return _looked_through(base, "PNG", plays, name, images)


def _read_webp_or_avif(data: bytes, base: Any, max_pixels: int, name: str) -> Animation:
    count = base.n_frames
    _check_limit(base.size, count, max_pixels, name)

    def images() -> Iterator[tuple[Image.Image, Fraction]]:
        image, before = open_image(io.BytesIO(data), name, max_pixels), Fraction(0)
        for number in range(count):
            image.seek(number)
            image.load()
            end = Fraction(image.info["timestamp"]) + image.info["duration"]
            yield image, end - before
            before = end

    plays = base.info["loop"] if base.format == "WEBP" else avif_plays(data)
    return _looked_through(base, base.format, plays, name, images)


def _looked_through(
    base: Image.Image, format: str, plays: int, name: str, images: Images
) -> Animation:
    """Decode all images once; return an animation with the metadata of `base`."""
    durations, opaque, first = list[Fraction](), True, None
    for image, duration in images():
        first = first or without_metadata(image, name)
        durations.append(duration)
        if image.has_transparency_data:
            opaque &= bool(np.asarray(image.convert("RGBA").getchannel("A")).min() == 255)
    if first is None:
        raise EOFError("truncated before the first frame")
    profile = first.icc_profile

    def frames() -> Iterator[Picture]:
        with naming_damage(name):
            for image, _ in images():
                if profile is None:  # it cannot be used, and that has been logged
                    image.info.pop("icc_profile", None)
                frame = without_metadata(image, name)
                yield replace(frame, format=format, alpha=None if opaque else frame.alpha)

    metadata = read_metadata(base, name)
    return Animation(
        name, format, first.size, tuple(durations), plays, not opaque, metadata, frames
    )


def _check_limit(size: tuple[int, int], count: int, max_pixels: int, name: str) -> None:
    pixels = size[0] * size[1]
    if pixels > max_pixels or (count > 1 and max(pixels, _LEAST) * count > max_pixels):
        raise TooLargeError(
            f"{name}: has {count:,} frames of {size[0]} x {size[1]}, together more than "
            f"the limit of {max_pixels:,} pixels, at least {_LEAST:,} for each frame "
            "(raise it with max_pixels, or --max-pixels on the command line)"
        )


Drawn = Iterable[tuple[Picture, PhotoArray]]


def encode_animation(
    animation: Animation,
    drawn: Drawn,
    format: str,
    quality: int | None = None,
    lossless: bool = False,
) -> bytes:
    """Encode cartoons with the times, repetitions and metadata of the animation.

    Only one frame is held at a time, and what the file has so far; of a GIF all, compressed.

    Args:
        animation: where they come from.
        drawn: frames, and what was made of each, (H, W, 3), taken when needed.
        format: one of `formats.ANIMATED`.
        quality, lossless: as in `encode`, as are the errors.
    """
    check_options(format, quality, lossless)
    pairs = iter(drawn)
    frame, cartoon = next(pairs)
    pairs = chain([(frame, cartoon)], pairs)
    model = replace(frame, name=animation.name, metadata=animation.metadata)
    options = save_options(model, format, quality, lossless)
    try:
        match format:
            case "GIF":
                return _encode_gif(animation, pairs, options.get("comment"))
            case "PNG":
                return _encode_apng(animation, pairs, model)
            case "WEBP":  # equal frames that follow each other become one
                options |= {"loop": min(animation.plays, 65535), "kmin": 0, "kmax": 0, "method": 4}
                return _saved(animation, pairs, format, options)
            case _:
                options["speed"] = 7  # Pillow's default 6 takes 20 times as long for hardly more
                if frame.grey:
                    options["subsampling"] = "4:0:0"
                return with_plays(_saved(animation, pairs, format, options), animation.plays)
    except (OSError, RuntimeError, ValueError) as error:
        raise OutputError(f"{animation.name}: cannot be written as {format}: {error}") from error


def in_steps(durations: Sequence[Fraction], step: Fraction | int) -> list[int]:
    """Round durations to steps, without drift; both in milliseconds."""
    times = [round(time / step) for time in accumulate(durations, initial=Fraction(0))]
    return [later - earlier for earlier, later in pairwise(times)]


def _encode_gif(animation: Animation, drawn: Drawn, comment: str | None) -> bytes:
    from toonbox.images import gif  # loads PyAV

    step = gif.STEP * 1000
    if max(animation.durations) > gif.LONGEST * step:
        longest = float(gif.LONGEST * gif.STEP)
        _logger.warning("%s: GIF shows no frame longer than %g s", animation.name, longest)
    packed = list[bytes]()
    shape = (animation.size[1], animation.size[0], 4)

    def first() -> Iterator[Uint8Array]:
        for frame, cartoon in drawn:
            pixels = gif.bgra(written_rgb(frame, cartoon, "GIF"), frame.alpha)
            packed.append(zlib.compress(pixels.data, 1))
            yield pixels

    palette = gif.choose_palette(map(gif.frame_of, first()))
    again = (np.frombuffer(zlib.decompress(one), np.uint8).reshape(shape) for one in packed)
    delays = in_steps(animation.durations, step)
    frames = map(gif.frame_of, again)
    return b"".join(gif.gif_blocks(frames, palette, delays, animation.plays, comment))


# FFmpeg's names of pixels of one to four channels.
_PIXELS = ("gray", "ya8", "rgb24", "rgba")


def _encode_apng(animation: Animation, drawn: Drawn, model: Picture) -> bytes:
    """Encode an APNG with FFmpeg, which stores only what changes.

    Its muxer is not used: that takes no frames without a duration, and no metadata.
    """
    chunks = [chunk(b"acTL", struct.pack(">2I", len(animation.durations), animation.plays))]
    for packet, duration in zip(_apng_packets(animation, drawn), animation.durations, strict=True):
        seconds = min(duration / 1000, Fraction(65535))
        if max(seconds.as_integer_ratio()) > 65535:  # both have 16 bits
            seconds = seconds.limit_denominator(65535 // (int(seconds) + 1))
        for kind, content in png_chunks(io.BytesIO(SIGNATURE + packet)):
            if kind == b"fcTL":  # the delay follows five numbers
                delay = struct.pack(">2H", *seconds.as_integer_ratio())
                content = content[:20] + delay + content[24:]
            chunks.append(chunk(kind, content))
    file = io.BytesIO(encode_one_pixel(model, "PNG"))
    return b"".join(with_pixels(file, animation.size, chunks))


def _apng_packets(animation: Animation, drawn: Drawn) -> Iterator[bytes]:
    """Yield the chunks of each frame, without its duration."""
    import av  # takes long

    context: Any = av.CodecContext.create("apng", "w")
    context.width, context.height = animation.size
    context.time_base = Fraction(1)
    for number, (frame, cartoon) in enumerate(drawn):
        values = channels_of(frame, cartoon)
        if number == 0:
            context.pix_fmt = _PIXELS[values.shape[2] - 1]
        made = av.VideoFrame(*animation.size, context.pix_fmt)
        plane: Any = made.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(len(values), plane.line_size)
        rows[:, : values[0].size] = values.reshape(len(values), -1)
        made.pts, made.time_base = number, context.time_base
        yield from map(bytes, context.encode(made))
    yield from map(bytes, context.encode(None))


class _Film(Image.Image):
    """An iterator of images that Pillow can save like a file with frames."""

    def __init__(self, images: Iterator[Image.Image], count: int) -> None:
        super().__init__()
        self.n_frames, self.is_animated = count, count > 1
        self._images, self._at = images, -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Advance to the next image; Pillow seeks forwards, and to the first one at the end."""
        if frame >= self.n_frames:
            raise EOFError
        if frame > self._at:
            image = next(self._images)
            self.im, self._mode, self._size = image.im, image.mode, image.size
            self._at = frame

    def tell(self) -> int:
        """Return the number of the image."""
        return self._at


def _saved(animation: Animation, drawn: Drawn, format: str, options: dict[str, Any]) -> bytes:
    """Write the frames with Pillow."""
    steps = np.clip(in_steps(animation.durations, 1), *_LIMITS[format]).tolist()
    mode = "RGBA" if animation.transparent else "RGB"
    film = _Film((image_of(*pair).convert(mode) for pair in drawn), len(steps))
    buffer = io.BytesIO()
    film.save(buffer, format, save_all=True, duration=steps, **options)
    return buffer.getvalue()


# Pillow neither reads nor writes the number of repetitions of an AVIF.
_BOXES = re.compile(rb"(mvhd|tkhd|elst)[\0\1]")
_ENDLESS = (1 << 32) - 1, (1 << 64) - 1
# Where the duration stands behind the name of a box, in its versions 0 and 1.
_DURATIONS = {b"mvhd": (16, 24), b"tkhd": (20, 28), b"elst": (8, 8)}


def avif_plays(data: bytes) -> int:
    """Return how often an AVIF plays, FOREVER if it does not say; raise one of `DAMAGE`."""
    track = 0
    for kind, at, _, duration in _durations(data):
        if kind == b"tkhd":
            track = duration
        if kind == b"elst":
            if not data[at + 3] & 1:
                return 1
            return FOREVER if track in _ENDLESS or not duration else -(-track // duration)
    return FOREVER


def with_plays(data: bytes, avif_plays: int) -> bytes:
    """Set how often an AVIF plays that libavif wrote, with durations of 64 bits."""
    changed, boxes = bytearray(data), list(_durations(data))
    once = max((duration for kind, *_, duration in boxes if kind == b"elst"), default=0)
    total = _ENDLESS[1] if avif_plays == FOREVER else once * avif_plays
    for kind, at, place, _ in boxes:
        if kind == b"elst":
            changed[at + 3] = avif_plays != 1
        else:
            struct.pack_into(">Q", changed, place, total)
    return bytes(changed)


def _durations(data: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """Find boxes with a duration: kind, where the content and the duration begin, the duration."""
    movie = data.index(b"moov")
    for found in _BOXES.finditer(data, movie, movie + int.from_bytes(data[movie - 4 : movie])):
        kind, start = found[1], found.end(1)
        form, version = (">Q", 1) if data[start] else (">I", 0)
        place = start + _DURATIONS[kind][version]
        yield kind, start, place, struct.unpack_from(form, data, place)[0]
