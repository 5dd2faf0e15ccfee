"""Encode the pictures of a video, as segments without sound."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from toonbox.atomic import ffmpeg_errors
from toonbox.errors import OutputError, UsageError
from toonbox.pixels import PhotoArray
from toonbox.video.read import TEN_BITS, FrameColours, from_rgb

# They speak of the old file, or of its pictures before they were encoded anew.
_OF_THE_FILE = (
    *("major_brand", "minor_version", "compatible_brands", "encoder", "vendor_id"),
    *("handler_name", "duration", "bps", "number_of_frames", "number_of_bytes", "rotate"),
    "alpha_mode",
)
_PLACES = ("location", "gps", "xyz")


def kept_metadata(metadata: dict[str, str], keep: str) -> dict[str, str]:
    """Return the metadata of a file or a stream that a policy keeps.

    "strip" keeps languages, and the names and types of attachments.
    """
    kept = {}
    for key, value in metadata.items():
        name = key.lower()
        ours = name.split("-")[0] in _OF_THE_FILE or name.startswith("_statistics")
        place = keep == "no-gps" and any(word in name for word in _PLACES)
        stripped = keep == "strip" and name not in ("language", "filename", "mimetype")
        if not (ours or place or stripped):
            kept[key] = value
    return kept


@contextmanager
def output(path: Path, muxer: str, options: dict[str, str]) -> Iterator[OutputContainer]:
    """Open a video file, complete when the block ends; raise OSError if it cannot be written."""
    with ffmpeg_errors():
        container = av.open(f"file:{path}", "w", format=muxer, container_options=options)
    try:
        yield container
    except BaseException:
        with suppress(av.FFmpegError):
            container.close()
        raise
    with ffmpeg_errors():
        container.close()


def put(container: OutputContainer, packets: "Iterable[Packet[Any]]") -> None:
    """Write packets, which may be encoded lazily; raise OSError if that fails."""
    with ffmpeg_errors():
        for packet in packets:
            container.mux(packet)


@dataclass(frozen=True)
class _Encoder:
    """An encoder of FFmpeg, and how we use it."""

    name: str
    crf: int  # quality unless told; lower values give better quality and larger files
    worst: int  # the largest crf
    preset: str  # how fast, unless told
    preset_option: str  # what the encoder calls its preset
    presets: tuple[str, ...]
    even: bool  # whether both sides must be even
    options: dict[str, str]
    format: str = "yuv420p"  # FFmpeg's name of the pixels it is given


_X264_PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow"),
)
_ENCODERS = {
    "h264": _Encoder("libx264", 20, 51, "veryfast", "preset", _X264_PRESETS, True, {}),
    "hevc": _Encoder(
        "libx265", 24, 51, "veryfast", "preset", _X264_PRESETS, True,
        {"x265-params": "log-level=error"},
    ),
    "vp9": _Encoder(
        "libvpx-vp9", 32, 63, "5", "cpu-used", tuple(map(str, range(9))), False,
        {"deadline": "good", "row-mt": "1"},
    ),
    "av1": _Encoder(
        "libsvtav1", 32, 63, "8", "preset", tuple(map(str, range(14))), True, {},
    ),
    # Lossless, until the palette is known.
    "gif": _Encoder("libx264rgb", 0, 0, "ultrafast", "preset", ("ultrafast",), False, {}, "rgb24"),
}  # fmt: skip
_DEEP = ("hevc", "av1")  # few players know h264 of 10 bits, and PyAV's libvpx makes none
# Up to this width x265 writes beyond the ends of its memory while it looks ahead ("cutree").
_X265_NARROW = 48
_LEAST_AV1 = 32  # pixels: with less on a side SVT-AV1 crashes or never ends
_X265_LATE = 2  # frames by which it decodes later; a video of no more gets random decoding times


@dataclass(frozen=True)
class Encoding:
    """How pictures are encoded; raise UsageError if the codec has no such crf, preset or bits."""

    codec: str  # h264, hevc, vp9, av1 or, for a GIF to be made of them, gif
    crf: int | None = None  # None is what is usual for the codec
    preset: str | None = None  # alike
    bits: int = 8

    def __post_init__(self) -> None:
        encoder = self.encoder
        if self.crf is not None and not 0 <= self.crf <= encoder.worst:
            raise UsageError(
                f"crf must be from 0 to {encoder.worst} for {self.codec}, got {self.crf}"
            )
        if self.bits not in ((8, 10) if self.codec in _DEEP else (8,)):
            raise UsageError(f"bits must be 8, or 10 for {' and '.join(_DEEP)}, got {self.bits}")
        if self.preset is not None and self.preset not in encoder.presets:
            raise UsageError(
                f"no preset {self.preset} for {self.codec}; available: {', '.join(encoder.presets)}"
            )

    @property
    def encoder(self) -> _Encoder:
        """Return the encoder of the codec."""
        return _ENCODERS[self.codec]

    @property
    def format(self) -> str:
        """Return FFmpeg's name of the pixels that are encoded."""
        return TEN_BITS if self.bits == 10 else self.encoder.format

    def even_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Enlarge an odd side by one where the codec knows only even ones."""
        width, height = size
        return (width + width % 2, height + height % 2) if self.encoder.even else size

    def takes_planes(self, size: tuple[int, int]) -> bool:
        """Return whether frames in yuv420p, of a width and height, can be written as they are."""
        return self.format == "yuv420p" and size[0] % 2 == size[1] % 2 == 0


@dataclass(frozen=True)
class Track:
    """What the pictures of a video have in common; all but the size as in `Video`."""

    size: tuple[int, int]  # width and height in pixels
    time_base: Fraction
    rate: Fraction | None
    aspect: Fraction
    colours: FrameColours


def refuse_tiny(target: Path, encoding: Encoding, size: tuple[int, int]) -> None:
    """Raise OutputError for frames, (width, height), over which an encoder crashes or hangs."""
    if encoding.codec == "av1" and min(encoding.even_size(size)) < _LEAST_AV1:
        width, height = size
        raise OutputError(
            f"{target} cannot be written: AV1 needs at least {_LEAST_AV1} pixels on each side, "
            f"and the frames have {width} x {height}; --codec h264, hevc or vp9 takes them"
        )


class SegmentWriter:
    """Encodes frames into a file of pictures only."""

    def __init__(self, container: OutputContainer, track: Track, encoding: Encoding) -> None:
        self._container, self._track, self._encoding = container, track, encoding
        self._size, encoder = encoding.even_size(track.size), encoding.encoder
        self._last: Packet[Any] | None = None
        self._frames = self._end = 0
        os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 would tell its settings, listens to this
        options = {
            **encoder.options,
            "crf": str(encoder.crf if encoding.crf is None else encoding.crf),
            encoder.preset_option: encoding.preset or encoder.preset,
        }
        if encoding.codec == "hevc" and self._size[0] <= _X265_NARROW:
            options["x265-params"] += ":cutree=0"
        stream = container.add_stream(encoder.name, track.rate, options=options)
        assert isinstance(stream, VideoStream)
        self._stream = stream
        context = stream.codec_context
        context.width, context.height = self._size
        context.pix_fmt = encoding.format
        context.time_base = stream.time_base = track.time_base
        context.sample_aspect_ratio = track.aspect
        if encoding.format != "rgb24":
            track.colours.mark(context)
        context.flags |= Flags.frame_duration

    def write(self, picture: PhotoArray | VideoFrame, pts: int, duration: int) -> None:
        """Encode RGB, (H, W, 3), of 8 or 16 bits, or a frame as written; times in the time base."""
        frame = picture if isinstance(picture, VideoFrame) else self._frame(picture)
        frame.pts, frame.duration, frame.time_base = pts, duration, self._track.time_base
        self._frames, self._end = self._frames + 1, pts + duration
        put(self._container, self._but_the_last(self._stream.encode_lazy(frame)))

    def _frame(self, rgb: PhotoArray) -> VideoFrame:
        width, height = self._size
        below, right = height - rgb.shape[0], width - rgb.shape[1]
        if below or right:
            rgb = np.pad(rgb, ((0, below), (0, right), (0, 0)), mode="edge")
        if self._encoding.format == "rgb24":
            return VideoFrame.from_ndarray(rgb, "rgb24")
        return from_rgb(rgb, self._track.colours)

    def finish(self) -> None:
        """Flush the encoder."""
        put(self._container, self._but_the_last(self._stream.encode_lazy()))
        if self._last is not None:
            # In MP4 nothing lasts longer than this, and not every encoder tells how long it does.
            self._last.duration = self._end - (self._last.pts or 0)
            put(self._container, [self._last])

    def _but_the_last(self, packets: "Iterable[Packet[Any]]") -> Iterator["Packet[Any]"]:
        for packet in packets:
            if self._encoding.codec == "hevc" and self._frames <= _X265_LATE:
                packet.dts = packet.pts
            if self._last is not None:
                yield self._last
            self._last = packet


@contextmanager
def writing_segment(path: Path, track: Track, encoding: Encoding) -> Iterator[SegmentWriter]:
    """Write pictures to an MP4 file, complete when the block ends; raise OSError if it fails."""
    # Where a video does not begin at 0, the beginning is told in this unit.
    options = {"movie_timescale": str(track.time_base.denominator)}
    with output(path, "mp4", options) as container:
        writer = SegmentWriter(container, track, encoding)
        yield writer
        writer.finish()


@dataclass(frozen=True)
class Segment:
    """A file of pictures, and what it shows; times are in seconds of the video."""

    path: Path
    frames: int
    first: Fraction  # when the first frame begins
    last: Fraction  # when the last one begins
    end: Fraction  # when the last one ends


def read_segment(path: Path) -> Segment:
    """Read the times of a segment; raise OutputError if it is damaged."""
    try:
        with av.open(f"file:{path}") as container:
            stream = container.streams.video[0]
            unit = stream.time_base or Fraction(1)
            # What packets tell of VP9 is a guess.
            end = ((stream.start_time or 0) + (stream.duration or 0)) * unit
            packets = container.demux(video=0)
            shown = [packet.pts * unit for packet in packets if packet.pts is not None]
            return Segment(path, len(shown), min(shown), max(shown), end)
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise OutputError(f"{path}: is damaged: {error}") from error
