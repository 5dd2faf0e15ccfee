"""Frames into a GIF with one palette, by FFmpeg's palettegen, paletteuse and encoder.

Its muxer is not used: that takes no frames without a duration, and no comments.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, count
from typing import Any, cast

import av
import numpy as np
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from PIL import Image

from toonbox.atomic import ffmpeg_errors
from toonbox.pixels import PhotoArray, Uint8Array

STEP = Fraction(1, 100)  # seconds in a GIF's unit of time
LONGEST = 65535  # steps
_FORMAT = VideoFormat("bgra")  # which both filters know
# A pattern that stands still, unlike errors that are carried on from pixel to pixel, and no other
# pixels where nothing moves.
_DITHERING = "dither=bayer:bayer_scale=5:diff_mode=rectangle"
_EXACT = "dither=none:diff_mode=rectangle"


def bgra(rgb: PhotoArray, alpha: PhotoArray | None) -> Uint8Array:
    """Put colours (H, W, 3) and alpha (H, W), of 8 bits, in FFmpeg's order: (H, W, 4).

    What is less than half opaque becomes fully transparent, the rest opaque.
    """
    pixels = np.full((*rgb.shape[:2], 4), 255, np.uint8)
    pixels[..., :3] = rgb[..., ::-1]
    if alpha is not None:
        pixels[alpha < 128] = 0
    return pixels


def frame_of(pixels: Uint8Array) -> VideoFrame:
    """Make a frame of pixels, BGRA, (H, W, 4)."""
    return VideoFrame.from_ndarray(pixels, _FORMAT.name)


@dataclass(frozen=True)
class Palette:
    """Colours for some frames, as FFmpeg has them."""

    frame: VideoFrame  # of the colours
    size: tuple[int, int]  # width and height of the frames
    exact: bool  # whether these are all the colours that the frames have


def choose_palette(frames: Iterable[VideoFrame], *, transparent: bool = True) -> Palette:
    """Choose up to 255 colours for all frames, BGRA, of which at least one must be there.

    Args:
        frames: taken one at a time.
        transparent: keep one more entry for what is transparent, or has not changed; without,
            there are up to 256 colours.
    """
    frames = iter(frames)
    first = next(frames)
    size, graph = (first.width, first.height), Graph()
    # First, so that it works before more frames come.
    generator = graph.add("palettegen", f"reserve_transparent={int(transparent)}")
    source, both = _source(graph, size), graph.add("split")
    seen, sink = graph.add("buffersink"), graph.add("buffersink")
    source.link_to(both)
    both.link_to(generator, 0, 0)
    both.link_to(seen, 1, 0)
    generator.link_to(sink)
    graph.configure()
    few: set[Any] | None = set()
    with ffmpeg_errors():
        for number, frame in enumerate(chain([first], frames)):
            few = _few(few, frame, 256 - transparent)
            source.push(_timed(frame, number))
            # Filters work only when asked, and frames would pile up. Asking for the palette would
            # not do: it is not ready, and while PyAV raises that error, Ctrl-C is lost.
            seen.pull()
        source.push(None)
        palette = cast(VideoFrame, sink.pull())
    if few:  # palettegen rounds them
        colours = np.array(sorted(few), np.uint8)
        entries = np.resize(colours, (256, 4))
        entries[255, 3] = 0 if transparent else 255
        palette = frame_of(entries.reshape(16, 16, 4))
    return Palette(palette, size, bool(few))


def _few(colours: set[Any] | None, frame: VideoFrame, most: int) -> set[Any] | None:
    """Add a frame's colours, but what is transparent, to others; None if they are too many."""
    if colours is None:
        return None
    found = Image.fromarray(frame.to_ndarray()).getcolors(most + 1)
    if found is None:
        return None
    colours |= {colour for _, colour in found if cast(Any, colour)[3]}
    return colours if len(colours) <= most else None


def gif_blocks(
    frames: Iterable[VideoFrame],
    palette: Palette,
    delays: Sequence[int],
    plays: int = 0,
    comment: str | None = None,
) -> Iterator[bytes]:
    """Encode frames, and give the file piece by piece.

    Args:
        frames: those that the palette was chosen for, once more; OSError if they are too large.
        delays: of each frame, in steps; those longer than LONGEST are cut.
        plays: how often all is shown; 0 is for ever.
    """
    for number, (packet, delay) in enumerate(zip(_packets(frames, palette), delays, strict=True)):
        head = 13 + (6 << (packet[10] & 7)) if number == 0 else 0
        if number == 0:
            yield packet[:head]
            if plays != 1:
                again = max(0, min(plays - 1, 65535))
                yield b"!\xff\x0bNETSCAPE2.0" + struct.pack("<BBHB", 3, 1, again, 0)
            if comment:
                data = comment.encode()
                parts = (data[at : at + 255] for at in range(0, len(data), 255))
                yield b"!\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
        # Behind "!", the label, the length of the block and the flags.
        yield packet[head : head + 4] + struct.pack("<H", min(delay, LONGEST)) + packet[head + 6 :]
    yield b";"


def _packets(frames: Iterable[VideoFrame], palette: Palette) -> Iterator[bytes]:
    """Yield frames in the colours of a palette, encoded, the first with the header of the file."""
    context = av.CodecContext.create("gif", "w")
    context.width, context.height = palette.size
    context.pix_fmt, context.time_base = "pal8", STEP
    graph = Graph()
    source = _source(graph, palette.size)
    colours = _source(graph, (palette.frame.width, palette.frame.height))
    use = graph.add("paletteuse", _EXACT if palette.exact else _DITHERING)
    sink = graph.add("buffersink")
    source.link_to(use, 0, 0)
    colours.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    with ffmpeg_errors():
        colours.push(_timed(palette.frame, 0))
        colours.push(None)
        for frame in map(_timed, frames, count()):
            source.push(frame)
            drawn = cast(VideoFrame, sink.pull())  # one for each
            drawn.time_base = STEP
            yield from map(bytes, context.encode(drawn))
        yield from map(bytes, context.encode(None))


def _source(graph: Graph, size: tuple[int, int]) -> Any:
    return graph.add_buffer(width=size[0], height=size[1], format=_FORMAT, time_base=STEP)


def _timed(frame: VideoFrame, number: int) -> VideoFrame:
    """Set a frame's time to its number: the filters and the encoder need increasing times."""
    frame.pts, frame.time_base = number, STEP
    return frame
