"""A video as an animated GIF, with one palette for all of it, by FFmpeg's filters.

The video is read twice, from segments on the disk: for the palette, of which FFmpeg counts the
colours, and for the frames, one after the other. So memory does not grow with the video.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from toonbox.video.read import Video, opened
from toonbox.video.write import output, put

_logger = logging.getLogger(__name__)

STEP = Fraction(1, 100)  # seconds in a GIF's unit of time
SHORTEST = 2  # steps: browsers show what asks for less for a tenth of a second
LONGEST = 65535  # steps
_FORMAT = VideoFormat("bgra")  # which both filters know
# A pattern that stands still, unlike errors that are carried on from pixel to pixel, and no other
# pixels where nothing moves.
_DITHERING = "dither=bayer:bayer_scale=3:diff_mode=rectangle"
_SOUNDS = {"audio": "sound", "subtitle": "subtitles", "attachment": "attachments"}


def write_gif(target: Path, segments: Sequence[Path], video: Video, end: Fraction) -> None:
    """Write a video that is shown for ever; say what is left out.

    Each frame begins at the hundredth of a second next to its time, so that times do not drift. Of
    those that would be shown for less than two, some are left out.

    Args:
        target: the file; what is there is overwritten.
        segments: files of `writing_segment`, in order, with one frame at least.
        video: the source.
        end: when the last frame ends, in seconds of the segments' time.
    Raises:
        OSError: it cannot be written.
        VideoError: the source cannot be read any more, or its frames become too large.
    """
    frames = _Frames(segments, video, end)
    palette = _palette(frames)
    _tell_what_is_lost(video, frames)
    options = {"loop": "0", "final_delay": str(min(frames.total - frames.last, LONGEST))}
    with output(target, "gif", options) as container:
        stream = container.add_stream("gif", 100)
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = palette.size[0], palette.size[1], "pal8"
        context.time_base = stream.time_base = STEP
        for frame in _drawn(frames, palette.frame, palette.size):
            put(container, stream.encode_lazy(frame))
        put(container, stream.encode_lazy())


@dataclass
class _Palette:
    """The colours, and the width and height of the frames that they are for."""

    frame: VideoFrame
    size: tuple[int, int]


@dataclass
class _Frames:
    """The frames of a video at the times that a GIF can tell; can be gone through again.

    Attributes:
        segments: where they come from.
        video: the source, whose pixels need not be square as a GIF's are.
        end: of the last, in seconds.
        last: when the last that was given begins, in steps.
        total: how long all last, in steps.
        longest: of those that were given, in steps.
        left_out: how many were shown too briefly.
    """

    segments: Sequence[Path]
    video: Video
    end: Fraction
    last: int = 0
    total: int = 0
    longest: int = 0
    left_out: int = 0

    def __iter__(self) -> Iterator[VideoFrame]:
        first, self.last, self.longest, self.left_out = None, -SHORTEST, 0, 0
        for frame, seconds in _decoded(self.segments):
            if first is None:
                first = seconds
                self.total = max(SHORTEST, round((self.end - first) / STEP))
            pts = round((seconds - first) / STEP)
            if pts and (pts - self.last < SHORTEST or self.total - pts < SHORTEST):
                self.left_out += 1
                continue
            self.longest, self.last = max(self.longest, pts - self.last), pts
            width = self.video.square_width(frame.width, frame.height)
            made = frame.reformat(width=width, format=_FORMAT.name)
            made.pts, made.time_base = pts, STEP
            yield made
        self.longest = max(self.longest, self.total - self.last)


def _decoded(segments: Sequence[Path]) -> Iterator[tuple[VideoFrame, Fraction]]:
    for path in segments:
        with av.open(f"file:{path}") as segment:
            for frame in segment.decode(video=0):
                yield frame, (frame.pts or 0) * (frame.time_base or Fraction(1))


def _palette(frames: _Frames) -> _Palette:
    """Choose up to 255 colours for all frames, and one for what has not changed."""
    graph, size, found = None, (0, 0), list[VideoFrame]()
    for frame in frames:
        if graph is None:
            size = frame.width, frame.height
            graph = Graph()
            source = graph.add_buffer(width=size[0], height=size[1], format=_FORMAT, time_base=STEP)
            graph.link_nodes(source, graph.add("palettegen"), graph.add("buffersink")).configure()
        graph.push(frame)
        found += _ready(graph)  # nothing yet, but without asking the frames would pile up
    assert graph is not None
    graph.push(None)
    found += _ready(graph)
    return _Palette(found[0], size)


def _drawn(frames: _Frames, palette: VideoFrame, size: tuple[int, int]) -> Iterator[VideoFrame]:
    """Draw all frames with the colours of a palette."""
    graph = Graph()
    width, height = size
    source = graph.add_buffer(width=width, height=height, format=_FORMAT, time_base=STEP)
    width, height = palette.width, palette.height
    colours = graph.add_buffer(width=width, height=height, format=_FORMAT, time_base=STEP)
    use, sink = graph.add("paletteuse", _DITHERING), graph.add("buffersink")
    source.link_to(use, 0, 0)
    colours.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    palette.pts, palette.time_base = 0, STEP
    colours.push(palette)
    colours.push(None)
    for frame in frames:
        source.push(frame)
        yield from _ready(graph)
    source.push(None)
    yield from _ready(graph)


def _ready(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return


def _tell_what_is_lost(video: Video, frames: _Frames) -> None:
    with opened(video.path, max_pixels=video.max_pixels) as source:
        kinds = {stream.type for stream in source.streams}
    if lost := [name for kind, name in _SOUNDS.items() if kind in kinds]:
        _logger.warning("%s: left out, as a GIF has none: %s", video.path, ", ".join(lost))
    if frames.left_out:
        message = "%s: %d frames are left out; browsers show no more than 50 a second in a GIF"
        _logger.warning(message, video.path, frames.left_out)
    if frames.longest > LONGEST:
        longest = float(LONGEST * STEP)
        _logger.warning("%s: GIF shows no frame longer than %g s", video.path, longest)
