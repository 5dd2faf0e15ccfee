"""Read videos: what is in a file, and its frames upright, in RGB, with exact times."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property, lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.filter import Graph
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)
from av.video.stream import VideoStream

from toonbox.errors import VideoError
from toonbox.options import MAX_PIXELS
from toonbox.parallel import in_time
from toonbox.pixels import PhotoArray, Uint8Array, upright

_logger = logging.getLogger(__name__)

# Neither playlists nor addresses: a file must not make us open others.
_READING = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,gif",
}
_UNSEEKABLE = ("avi", "gif")  # their times are worked out here, from the first frame on
_SIZES = 4
_PATIENCE = 60  # seconds in which a decoder gives nothing until it is given up
_GIF_SHORTEST, _GIF_USUAL = 2, 10  # hundredths of a second: less than the one becomes the other

# Numbers of ITU-T H.273, as FFmpeg has them.
_UNSPECIFIED = 2
_HDR = (ColorTrc.SMPTE2084.value, ColorTrc.ARIB_STD_B67.value)
_BT709, _BT601, _RGB = 1, 6, 0
TEN_BITS = "yuv420p10le"
_PLANES_OF_BYTES = {"yuv420p", "yuvj420p"}  # most videos
_RGB48 = "rgb48le"
# FFmpeg's scaler has the same numbers, but one for both kinds of BT.601.
_MATRICES = {each.value: each for each in Colorspace} | {_BT601: Colorspace.ITU601}
# Rounding as it should be; without it a frame is darker each time it goes from RGB to YUV.
_HOW = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


# EXIF's numbers of the display matrices that show (x, y) at (a x + c y, b x + d y), by the signs
# of a, b, c and d.
_ORIENTATIONS = {
    (1, 0, 0, 1): 1, (-1, 0, 0, 1): 2, (-1, 0, 0, -1): 3, (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5, (0, 1, -1, 0): 6, (0, -1, -1, 0): 7, (0, -1, 1, 0): 8,
}  # fmt: skip


def orientation_of(frame: VideoFrame) -> int:
    """Return a frame's orientation as in EXIF; 1 for angles that are no multiples of 90 degrees."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1
    a, b, _, c, d = np.sign(np.frombuffer(data, np.int32)[:5]).tolist()
    return _ORIENTATIONS.get((a, b, c, d), 1)


@dataclass(frozen=True)
class FrameColours:
    """The colour space of frames; matrix, primaries and transfer are numbers of H.273."""

    range: int  # FFmpeg's number: 1 limited, 2 full, 0 unspecified
    matrix: int
    primaries: int
    transfer: int
    tall: bool = False  # larger than standard definition: another matrix is assumed

    @property
    def hdr(self) -> bool:
        """Return whether they are in high dynamic range: PQ (HDR10) or HLG."""
        return self.transfer in _HDR

    @property
    def known_matrix(self) -> Colorspace:
        """Return the matrix, or what players assume if it is unspecified."""
        usual = Colorspace.ITU709 if self.tall else Colorspace.ITU601
        return _MATRICES.get(self.matrix, usual)

    @property
    def known_range(self) -> ColorRange:
        """Return the range, or limited, which players assume if it is unspecified."""
        return ColorRange.JPEG if self.range == ColorRange.JPEG else ColorRange.MPEG

    @property
    def as_source(self) -> dict[str, Any]:
        """Return the arguments of `reformat` for frames of these colours."""
        if self.matrix == _RGB:
            return {}
        return {"src_colorspace": self.known_matrix, "src_color_range": self.known_range}

    def mark(self, marked: VideoFrame | VideoCodecContext) -> None:
        """Write into a frame, or an encoder, what its values mean."""
        marked.color_range, marked.colorspace = self.range, self.matrix
        marked.color_primaries, marked.color_trc = self.primaries, self.transfer

    @property
    def written(self) -> "FrameColours":
        """Return what the cartoon's frames mean: the same, but SDR for HDR and YUV for RGB."""
        if self.hdr:
            return FrameColours(ColorRange.MPEG.value, _BT709, _BT709, _BT709, self.tall)
        if self.matrix == _RGB:
            return replace(self, range=ColorRange.MPEG.value, matrix=_UNSPECIFIED)
        return self

    def of_size(self, size: tuple[int, int]) -> "FrameColours":
        """Return the same for a (width, height): the matrix, if players would assume another."""
        if self.matrix != _UNSPECIFIED or _is_tall(*size) == self.tall:
            return self
        return replace(self, matrix=_BT709 if self.tall else _BT601)


def _is_tall(width: int, height: int) -> bool:
    return width >= 1280 or height > 576


def colours_of(frame: VideoFrame) -> FrameColours:
    """Read what a frame says of its values; names such as yuvj420p say that the range is full."""
    full = frame.format.name.startswith("yuvj")
    return FrameColours(
        ColorRange.JPEG.value if full else frame.color_range,
        _RGB if frame.format.is_rgb else frame.colorspace,
        frame.color_primaries,
        frame.color_trc,
        tall=_is_tall(frame.width, frame.height),
    )


def to_rgb(
    frame: VideoFrame, size: tuple[int, int], colours: FrameColours, *, deep: bool = False
) -> PhotoArray:
    """Convert a frame to RGB of a (width, height): (H, W, 3) of 8 bits, or of 16 if `deep`.

    HDR becomes SDR; anything brighter than white becomes white.
    """
    # For HDR FFmpeg makes a table, which takes seconds, and is kept with what converts.
    converter = _of_thread.reformatter(size) if colours.hdr else VideoReformatter()
    rgb = converter.reformat(
        frame,
        width=size[0],
        height=size[1],
        format=_RGB48 if deep else "rgb24",
        **colours.as_source,
        dst_color_range=ColorRange.JPEG,
        dst_color_trc=ColorTrc.BT709 if colours.hdr else None,
        dst_color_primaries=ColorPrimaries.BT709 if colours.hdr else None,
        interpolation=_HOW,
    )
    return np.ascontiguousarray(rgb.to_ndarray())


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.reformatter = lru_cache(_SIZES)(lambda _size: VideoReformatter())


_of_thread = _OfThread()


def from_rgb(rgb: PhotoArray, colours: FrameColours, format: str = "yuv420p") -> VideoFrame:
    """Convert RGB, (H, W, 3), to a frame with these colours; 16 bits become yuv420p10le."""
    deep = rgb.dtype == np.uint16
    frame = VideoFrame.from_ndarray(rgb, _RGB48 if deep else "rgb24").reformat(
        format=TEN_BITS if deep else format,
        dst_colorspace=colours.known_matrix,
        src_color_range=ColorRange.JPEG,
        dst_color_range=colours.known_range,
        interpolation=_HOW,
    )
    colours.mark(frame)
    return frame


def _plane(frame: VideoFrame, index: int) -> Uint8Array:
    """Return a view of one plane of a frame of 8 bits: (rows, columns)."""
    plane = frame.planes[index]
    stored: Uint8Array = np.frombuffer(memoryview(plane), np.uint8)
    return stored.reshape(plane.height, plane.line_size)[:, : plane.width]


@dataclass(frozen=True)
class Video:
    """The properties of a video that are known before its frames are read."""

    path: Path
    index: int  # of its stream of pictures
    size: tuple[int, int]  # width and height, upright, in pixels that need not be square
    orientation: int  # as in EXIF
    time_base: Fraction  # seconds; the unit of its timestamps
    rate: Fraction | None  # frames a second on average, if known
    start: int  # timestamp of the first frame
    seconds: float | None  # duration, if known
    frames: int  # 0 if unknown
    aspect: Fraction  # width of a pixel divided by its height
    colours: FrameColours
    max_pixels: int = MAX_PIXELS  # of each frame, as stored and with square pixels
    alpha: bool = False  # whether it may be transparent; of a GIF, frames tell

    def stored(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size of frames before they are turned upright to `size`, or after it."""
        return size[::-1] if self.orientation > 4 else size

    def square_width(self, width: int, height: int) -> int:
        """Return a picture's width with square pixels; raise VideoError if it is too large."""
        square = max(1, round(width * self.aspect))
        _check_size(self.path, square, height, self.max_pixels)
        return square


@dataclass(frozen=True)
class Frame:
    """A frame of a video, converted to RGB lazily, in the thread that asks for it."""

    stored: VideoFrame  # as decoded
    video: Video
    size: tuple[int, int]  # width and height, upright
    pts: int  # timestamp in the video's `time_base`
    duration: int  # in the same unit; 0 if unknown
    deep: bool = False  # whether the photo has 16 bits
    # Two threads must not convert a frame at once.
    converting: Lock = field(default_factory=Lock, repr=False, compare=False)

    @cached_property
    def photo(self) -> PhotoArray:
        """The photo, (H, W, 3) RGB, upright, of 8 or 16 bits."""
        return self.resized(self.size)

    def resized(self, size: tuple[int, int]) -> PhotoArray:
        """Return the photo at another width and height."""
        video = self.video
        with self.converting:
            rgb = to_rgb(self.stored, video.stored(size), video.colours, deep=self.deep)
        return upright(rgb, video.orientation)

    def luma(self) -> Uint8Array:
        """Return the photo's luma as written, (H, W) of 8 bits, upright."""
        video, written = self.video, self.video.colours.written
        width, height = video.stored(self.size)
        with self.converting:
            frame = self.stored.reformat(
                width=width,
                height=height,
                format="yuv420p",
                **video.colours.as_source,
                dst_colorspace=written.known_matrix,
                dst_color_range=written.known_range,
                interpolation=_HOW,
            )
            plane = _plane(frame, 0)
        return upright(plane, video.orientation)

    def repeats(self, other: "Frame") -> bool:
        """Return whether two frames are equal, value by value."""
        if {self.stored.format.name, other.stored.format.name} <= _PLANES_OF_BYTES:
            return all(
                np.array_equal(_plane(self.stored, index), _plane(other.stored, index))
                for index in range(3)
            )
        return np.array_equal(self.photo, other.photo)


@contextmanager
def opened(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[InputContainer]:
    """Open a video file; raise VideoError if it cannot be read, now or before the block ends.

    FFmpeg takes no memory for frames of more than `max_pixels`.
    """
    limit = {"max_pixels": str(min(max_pixels, (1 << 31) - 1))}  # FFmpeg's number has 32 bits
    try:
        # A name may look like an address: a:b.mp4.
        with av.open(
            f"file:{path}",
            "r",
            options=limit,
            container_options=_READING,
            metadata_errors="replace",
            timeout=_PATIENCE,
        ) as container:
            for stream in container.streams.video:
                if stream.codec_context is not None:
                    stream.codec_context.options |= limit
                    stream.thread_type = "AUTO"
            yield container
    except av.FFmpegError as error:
        raise VideoError(f"{path}: {_reason(error)}") from error


def read_video(path: Path, *, max_pixels: int = MAX_PIXELS) -> Video:
    """Read the properties of a video; its first frame is decoded.

    Raise VideoError if it cannot be read, has no frames, or some of more than `max_pixels`, now or
    later; that is checked before memory is taken.
    """
    with opened(path, max_pixels) as container:
        # A cover is no stream of pictures.
        covers = Disposition.attached_pic
        stream = next((s for s in container.streams.video if not s.disposition & covers), None)
        if stream is None:
            others = {each.type for each in container.streams if each.type != "video"}
            raise VideoError(f"{path}: has no video, only {', '.join(sorted(others)) or 'a cover'}")
        if stream.codec_context is None:
            raise VideoError(f"{path}: its video codec is not supported")
        _check_size(path, stream.width, stream.height, max_pixels)
        first = next(_decode(container, stream, Counter(), max_pixels), None)
        if first is None:
            raise VideoError(f"{path}: has no frame that can be read")
        seconds = container.duration / av.time_base if container.duration is not None else None
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        orientation, size = orientation_of(first), (first.width, first.height)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        told = {name.lower(): value for name, value in stream.metadata.items()}
        alpha = any(component.is_alpha for component in first.format.components)
        alpha |= told.get("alpha_mode") == "1"  # of VP9, which is decoded without
        return Video(
            path=path,
            index=stream.index,
            size=size[::-1] if orientation > 4 else size,
            orientation=orientation,
            time_base=stream.time_base or Fraction(1),
            rate=stream.average_rate or stream.guessed_rate,
            start=first.pts or 0,
            seconds=seconds,
            frames=stream.frames,
            aspect=1 / aspect if orientation > 4 else aspect,
            colours=colours_of(first),
            max_pixels=max_pixels,
            alpha=alpha and container.format.name != "gif",
        )


def read_frames(
    video: Video, *, after: int | None = None, max_height: int | None = None, deep: bool = False
) -> Iterator[Frame]:
    """Read the frames of a video in the order they are shown; what is damaged is skipped.

    Args:
        after: only frames later than this timestamp; exactly those, whatever the file's index says.
        max_height: larger ones are reduced to it.
        deep: give photos of 16 bits.
    Raises:
        VideoError: the file cannot be opened any more, or frames become too large.
    """
    size, stored = reduced_size(video.size, max_height), video.stored(video.size)
    step = max(1, round(1 / video.rate / video.time_base)) if video.rate else 1
    counts: Counter[str] = Counter()
    last = after
    for frame in _frames_from(video, after, counts):
        pts = frame.pts
        if pts is None:
            pts = video.start if last is None else last + step
        if last is not None and pts <= last:
            counts["out of order"] += last != after
            continue
        counts["shown"] += 1
        counts["corrupt"] += frame.is_corrupt
        counts["of another size"] += (frame.width, frame.height) != stored
        gif = frame.format.name == "bgra" and not counts["transparent"]
        if gif and frame.to_ndarray()[..., 3].min() < 255:  # FFmpeg makes it white
            counts["transparent"] = 1
            _logger.warning("%s: transparent areas become white", video.path)
        yield Frame(frame, video, size, pts, frame.duration or 0, deep)
        last = pts
    _report(video, counts, whole=after is None)


def _report(video: Video, counts: Counter[str], *, whole: bool) -> None:
    """Warn of all problems, and of missing frames if the whole video was read."""
    width, height = video.stored(video.size)
    for kind, what in (
        ("damaged", "damaged packets were skipped"),
        ("corrupt", "frames are damaged, but shown"),
        ("out of order", "frames out of order were skipped"),
        ("of another size", f"frames of another size were brought to {width}x{height}"),
    ):
        if counts[kind]:
            _logger.warning("%s: %d %s", video.path, counts[kind], what)
    missing = video.frames - counts["shown"] - counts["out of order"] - counts["cut away"]
    if whole and missing > counts["damaged"]:
        message = "%s: ends early or is damaged: %d of its %d frames could not be read"
        _logger.warning(message, video.path, missing, video.frames)


def reduced_size(size: tuple[int, int], max_height: int | None) -> tuple[int, int]:
    """Reduce a (width, height) to a height; both become even then, as most codecs want them."""
    width, height = size
    if max_height is None or height <= max_height:
        return size
    return max(2, round(width * max_height / height / 2) * 2), max(2, max_height // 2 * 2)


def _frames_from(video: Video, after: int | None, counts: Counter[str]) -> Iterator[VideoFrame]:
    """Decode from the key frame before a timestamp, or from the start if seeking fails."""
    for position in (after, None) if after is not None else (None,):
        with opened(video.path, video.max_pixels) as container:
            stream = container.streams[video.index]
            assert isinstance(stream, VideoStream)
            frames = _decode(container, stream, counts, video.max_pixels)
            if position is not None:
                if container.format.name in _UNSEEKABLE:
                    continue
                try:
                    container.seek(position, stream=stream)
                except av.FFmpegError:  # this file has no index
                    continue
                first = next(frames, None)
                if first is None or first.pts is None or first.pts > position:
                    continue
                yield first
            yield from frames
            return


def _decode(
    container: InputContainer, stream: VideoStream, counts: Counter[str], max_pixels: int
) -> Iterator[VideoFrame]:
    """Decode all frames, and give them the times at which they are shown."""
    frames = _decoded(container, stream, counts, max_pixels)
    if container.format.name == "gif":
        frames = _as_browsers_show(frames)
    return _deinterlaced(frames, stream.time_base or Fraction(1))


def _decoded(
    container: InputContainer, stream: VideoStream, counts: Counter[str], max_pixels: int
) -> Iterator[VideoFrame]:
    """Decode all frames; count the packets that gave none."""
    path = Path(container.name.removeprefix("file:"))
    # FFmpeg guesses the times of frames wrong where a file says only in which order to decode them.
    # They come in the order they are shown: the first has the first time.
    waiting: deque[int | None] | None = deque() if container.format.name == "avi" else None
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)  # None after an error, too
            if packet is None:
                return
            counts["cut away"] += packet.is_discard  # by the file itself
            frames = in_time(partial(stream.decode, packet), _PATIENCE)
        except (TimeoutError, av.ExitError):  # what FFmpeg calls it when it is out of time
            hangs = f"{path}: its decoder has given nothing for {_PATIENCE} seconds"
            raise VideoError(hangs) from None
        except av.FFmpegError as error:
            context = stream.codec_context
            _check_size(path, context.width, context.height, max_pixels)
            if isinstance(error, av.ArgumentError) and not context.width:  # how it says so, mostly
                raise _too_large(path, "frames", max_pixels) from None
            counts["damaged"] += 1
            continue
        if waiting is not None and packet.size:
            waiting.append(packet.dts)
        for frame in frames:
            if waiting:
                frame.pts = waiting.popleft()
            elif frame.pts is None:
                frame.pts = frame.dts
            yield frame


def _as_browsers_show(frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
    """Show frames of a GIF for a tenth of a second, as browsers do, if their time is too short."""
    later = 0
    for frame in frames:
        frame.pts = (frame.pts or 0) + later
        if frame.duration < _GIF_SHORTEST:
            later += _GIF_USUAL - frame.duration
            frame.duration = _GIF_USUAL
        yield frame


def _deinterlaced(frames: Iterable[VideoFrame], unit: Fraction) -> Iterator[VideoFrame]:
    """Make interlaced frames whole, each at its own time; leave others as they are.

    From the first interlaced frame on all go through the filter, which looks at the ones around.
    """
    graph, kind = None, None
    for frame in frames:
        now = frame.width, frame.height, frame.format.name
        if graph is not None and now != kind:
            graph.vpush(None)
            yield from _pulled(graph)
            graph = None
        if graph is None and frame.interlaced_frame:
            graph, kind = Graph(), now
            graph.link_nodes(
                graph.add_buffer(
                    width=frame.width, height=frame.height, format=frame.format, time_base=unit
                ),
                graph.add("bwdif", "mode=send_frame:deint=interlaced"),
                graph.add("settb", str(unit)),  # bwdif counts in halves of it
                graph.add("buffersink"),
            ).configure()
        if graph is None:
            yield frame
        else:
            graph.vpush(frame)
            yield from _pulled(graph)
    if graph is not None:
        graph.vpush(None)
        yield from _pulled(graph)


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    """Yield the frames that a graph has ready."""
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return


def _check_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise _too_large(path, f"frames of {width} x {height}", max_pixels)


def _too_large(path: Path, frames: str, max_pixels: int) -> VideoError:
    return VideoError(
        f"{path}: has {frames} larger than the limit of {max_pixels:,} pixels "
        "(raise it with max_pixels, or --max-pixels on the command line)"
    )


def _reason(error: av.FFmpegError) -> str:
    """Return in a few words why FFmpeg failed."""
    match error:
        case FileNotFoundError():
            return "no such file"
        case av.ExitError():
            return f"nothing could be read of it for {_PATIENCE} seconds"
        case IsADirectoryError():
            return "is a folder, not a video"
        case av.InvalidDataError() | EOFError():
            return "is no video, or damaged, or ends before its index"
    return f"cannot be read: {error.strerror}"
