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
)
_PLACES = ("location", "gps", "xyz")


def kept_metadata(metadata: dict[str, str], keep: str) -> dict[str, str]:
    """Choose what is kept.

    Args:
        metadata: of a file, a stream or a chapter.
        keep: "keep", "strip" for all but languages and titles of chapters and streams, "no-gps"
            for all but places.
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
    """Open a video file for writing; it is complete when the block has ended without an error.

    Raises:
        OSError: it cannot be written.
    """
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
    """Write packets, which may be encoded lazily.

    Raises:
        OSError: they cannot be written.
    """
    with ffmpeg_errors():
        for packet in packets:
            container.mux(packet)


@dataclass(frozen=True)
class _Encoder:
    """An encoder of FFmpeg, and how we use it.

    Attributes:
        name: FFmpeg's.
        crf: quality unless told; lower values give better quality and larger files.
        worst: the largest crf.
        preset: how fast, unless told.
        preset_option: what the encoder calls its preset.
        presets: what it can be.
        even: whether both sides must be even.
        options: what else it is told.
        format: FFmpeg's name of the pixels it is given.
    """

    name: str
    crf: int
    worst: int
    preset: str
    preset_option: str
    presets: tuple[str, ...]
    even: bool
    options: dict[str, str]
    format: str = "yuv420p"


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
_DEEP = ("hevc", "av1")
# Up to this width x265 writes beyond the ends of its memory while it looks ahead ("cutree").
_X265_NARROW = 48
_LEAST_AV1 = 32  # pixels: with less on a side SVT-AV1 crashes or never ends
_X265_LATE = 2  # frames by which it decodes later; a video of no more gets random decoding times


@dataclass(frozen=True)
class Encoding:
    """How pictures are encoded: h264, hevc, vp9, av1 or, for a GIF to be made of them, gif.

    Attributes:
        codec: one of these.
        crf, preset: None is what is usual for the codec.
        bits: 8, or 10 for hevc and av1: few players know h264 of 10, and PyAV's libvpx makes none.

    Raises:
        UsageError: the codec has no such crf or preset.
    """

    codec: str
    crf: int | None = None
    preset: str | None = None
    bits: int = 8

    def __post_init__(self) -> None:
        encoder = _ENCODERS.get(self.codec)
        if encoder is None:
            raise UsageError(f"cannot encode {self.codec}, only {', '.join(_ENCODERS)}")
        if self.crf is not None and not 0 <= self.crf <= encoder.worst:
            raise UsageError(
                f"crf must be from 0 to {encoder.worst} for {self.codec}, got {self.crf}"
            )
        if self.bits not in ((8, 10) if self.codec in _DEEP else (8,)):
            raise UsageError(f"bits must be 8, or 10 for {' and '.join(_DEEP)}, got {self.bits}")
        if self.preset is not None and self.preset not in encoder.presets:
            raise UsageError(
                f"no preset {self.preset} for {self.codec}; there are {', '.join(encoder.presets)}"
            )

    def options(self, width: int) -> dict[str, str]:
        """Return FFmpeg's options for pictures of a width in pixels."""
        encoder = _ENCODERS[self.codec]
        options = {
            **encoder.options,
            "crf": str(encoder.crf if self.crf is None else self.crf),
            encoder.preset_option: self.preset or encoder.preset,
        }
        if self.codec == "hevc" and width <= _X265_NARROW:
            options["x265-params"] += ":cutree=0"
        return options

    def takes_planes(self, size: tuple[int, int]) -> bool:
        """Return whether frames in yuv420p, of a width and height, can be written as they are."""
        usual = _ENCODERS[self.codec].format == "yuv420p" and self.bits == 8
        return usual and size[0] % 2 == size[1] % 2 == 0

    @property
    def encoder(self) -> str:
        """Return FFmpeg's name of the encoder."""
        return _ENCODERS[self.codec].name


@dataclass(frozen=True)
class Track:
    """What the pictures of a video have in common.

    Attributes:
        size: width and height in pixels.
        time_base, rate, aspect, colours: as in `Video`.
    """

    size: tuple[int, int]
    time_base: Fraction
    rate: Fraction | None
    aspect: Fraction
    colours: FrameColours


def even_size(encoding: Encoding, size: tuple[int, int]) -> tuple[int, int]:
    """Enlarge an odd side by one where the codec knows only even ones."""
    if not _ENCODERS[encoding.codec].even:
        return size
    width, height = size
    return width + width % 2, height + height % 2


def refuse_tiny(target: Path, encoding: Encoding, size: tuple[int, int]) -> None:
    """Refuse frames, (width, height), over which an encoder crashes or never ends.

    Raises:
        OutputError: names the target.
    """
    if encoding.encoder == "libsvtav1" and min(even_size(encoding, size)) < _LEAST_AV1:
        width, height = size
        raise OutputError(
            f"{target} cannot be written: AV1 needs at least {_LEAST_AV1} pixels on each side, "
            f"and the frames have {width} x {height}; --codec h264, hevc or vp9 takes them"
        )


class SegmentWriter:
    """Encodes frames into a file of pictures only."""

    def __init__(self, container: OutputContainer, track: Track, encoding: Encoding) -> None:
        self._container, self._track = container, track
        self._stream = _stream(container, track, encoding)
        self._size = self._stream.width, self._stream.height
        self._x265 = encoding.encoder == "libx265"
        self._last: Packet[Any] | None = None
        self._frames = self._end = 0

    def write(self, picture: PhotoArray | VideoFrame, pts: int, duration: int) -> None:
        """Encode a frame, to be shown at `pts` for `duration`, in the time base.

        Args:
            picture: (H, W, 3) RGB of 8 bits, or of 16 where 10 are written; or a frame as it is
                written.
            pts: its timestamp.
            duration: until the next.
        """
        frame = picture if isinstance(picture, VideoFrame) else self._frame(picture)
        frame.pts, frame.duration, frame.time_base = pts, duration, self._track.time_base
        self._frames, self._end = self._frames + 1, pts + duration
        put(self._container, self._but_the_last(self._stream.encode_lazy(frame)))

    def _frame(self, rgb: PhotoArray) -> VideoFrame:
        width, height = self._size
        missing = height - rgb.shape[0], width - rgb.shape[1]
        if any(missing):
            rgb = np.pad(rgb, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        if self._stream.pix_fmt == "rgb24":
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
            if self._x265 and self._frames <= _X265_LATE:
                packet.dts = packet.pts
            if self._last is not None:
                yield self._last
            self._last = packet


@contextmanager
def writing_segment(path: Path, track: Track, encoding: Encoding) -> Iterator[SegmentWriter]:
    """Write pictures to an MP4 file, which is complete when the block has ended without an error.

    Args:
        path: the file.
        track, encoding: what it holds.
    Raises:
        OSError: it cannot be written.
    """
    # Where a video does not begin at 0, the beginning is told in this unit.
    options = {"movie_timescale": str(track.time_base.denominator)}
    with output(path, "mp4", options) as container:
        writer = SegmentWriter(container, track, encoding)
        yield writer
        writer.finish()


def _stream(container: OutputContainer, track: Track, encoding: Encoding) -> VideoStream:
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 would tell its settings, and listens to this
    width, height = even_size(encoding, track.size)
    options = encoding.options(width)
    stream = container.add_stream(encoding.encoder, track.rate, options=options)
    assert isinstance(stream, VideoStream)
    context = stream.codec_context
    context.width, context.height = width, height
    usual = _ENCODERS[encoding.codec].format
    context.pix_fmt = TEN_BITS if encoding.bits == 10 else usual
    context.time_base = stream.time_base = track.time_base
    context.sample_aspect_ratio = track.aspect
    if usual != "rgb24":
        colours = track.colours
        context.color_range, context.colorspace = colours.range, colours.matrix
        context.color_primaries, context.color_trc = colours.primaries, colours.transfer
    context.flags |= Flags.frame_duration
    return stream


@dataclass(frozen=True)
class SegmentTimes:
    """What a segment shows, in seconds of the video.

    Attributes:
        frames: how many.
        first: when the first begins.
        last: when the last begins.
        end: when the last ends.
    """

    frames: int
    first: Fraction
    last: Fraction
    end: Fraction


def segment_times(path: Path) -> SegmentTimes:
    """Read the times of a segment.

    Raises:
        OutputError: it is damaged.
    """
    try:
        with av.open(f"file:{path}") as segment:
            stream = segment.streams.video[0]
            unit = stream.time_base or Fraction(1)
            # What packets tell of VP9 is a guess.
            end = ((stream.start_time or 0) + (stream.duration or 0)) * unit
            shown = sorted(
                packet.pts * unit for packet in segment.demux(video=0) if packet.pts is not None
            )
    except (av.FFmpegError, IndexError) as error:
        raise OutputError(f"{path}: is damaged: {error}") from error
    if not shown:
        raise OutputError(f"{path}: is empty")
    return SegmentTimes(len(shown), shown[0], shown[-1], end)
