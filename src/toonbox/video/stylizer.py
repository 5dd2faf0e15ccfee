"""The frames of a video, drawn: read ahead, several at a time, given in order."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from toonbox.engine.style import Style
from toonbox.errors import UsageError
from toonbox.options import MAX_PIXELS, Compare, StyleOptions, VideoOptions
from toonbox.parallel import available_processors, ordered_parallel_map, prefetch
from toonbox.pixels import PhotoArray, Uint8Array, white
from toonbox.video.read import Frame, Video, is_hdr, read_frames, read_video, reduced_size
from toonbox.video.steadying import Stabilizer

_logger = logging.getLogger(__name__)

RESOLUTION = 540  # at which the network works, unless the style's own is smaller
READ_AHEAD = 4  # frames; more would only take memory
MOST_JOBS = 4  # each needs memory of its own
WARM_UP = 12  # frames that are drawn and steadied again before a resumed video goes on

# From a photo and its cartoon, both (h, w, 3), to the cartoon to show, all of the size at which the
# network works; what it gives is enlarged afterwards. Called for one frame after the other, as they
# are shown; a frame that repeats the one before is not asked about.
Steady = Callable[[Uint8Array, Uint8Array], Uint8Array]

_Sketch = tuple[PhotoArray, PhotoArray]  # what `Style.sketch` gives


@dataclass(frozen=True)
class Part:
    """The part of a video that is wanted, in seconds after its beginning; None for all.

    Raises:
        UsageError: it begins before the video, or ends before it begins.
    """

    start: Fraction | None = None
    end: Fraction | None = None

    def __post_init__(self) -> None:
        begin = self.start or 0
        if begin < 0 or (self.end is not None and self.end <= begin):
            raise UsageError("--start must be at least 0, and --end later than --start")

    def after(self, video: Video) -> int | None:
        """Give the timestamp after which it begins; None for the video's beginning."""
        if not self.start:
            return None
        return video.start + -(-self.start // video.time_base) - 1

    def until(self, video: Video) -> int | None:
        """Give the timestamp before which it ends; None for the video's end."""
        return None if self.end is None else video.start + -(-self.end // video.time_base)

    def seconds(self, video: Video) -> float | None:
        """Tell how long it is, if the video knows its own length."""
        ends = [float(end) for end in (video.seconds, self.end) if end is not None]
        return max(0.0, min(ends) - float(self.start or 0)) if ends else None


def part_of(start: float | None, end: float | None) -> Part:
    """Make a part of numbers; 0.1 is a tenth, not its nearest binary fraction."""
    return Part(*(None if time is None else Fraction(str(time)) for time in (start, end)))


@dataclass(frozen=True)
class Drawing:
    """How a video is drawn.

    Attributes:
        video: the video.
        style: loaded, and shared by `jobs` threads.
        options: how the style draws.
        part: what is wanted of the video.
        max_height: pixels; higher videos are reduced to it.
        jobs: frames to draw at a time.
        steady: see `Steady`.
        deep: whether photos and cartoons have 16 bits; without `steady`.
    """

    video: Video
    style: Style
    options: StyleOptions
    part: Part = Part()
    max_height: int | None = None
    jobs: int = 1
    steady: Steady | None = None
    deep: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Give the width and height of what is drawn."""
        return reduced_size(self.video.size, self.max_height)

    def frames(self, after: int | None = None) -> Iterator[tuple[Frame, PhotoArray]]:
        """Give the wanted frames and their cartoons, each with the time until the next.

        Args:
            after: only those later than this timestamp. Some before it are drawn as well if they
                are steadied, so that it goes on as if it had never ended.
        """
        frames = prefetch(self._wanted(self._warm_up(after)), READ_AHEAD)
        sketches = ordered_parallel_map(_marked(frames), self._sketched, self.jobs)
        cartoon = None
        for frame, drawn in ordered_parallel_map(
            self._steadied(sketches), self._finished, self.jobs
        ):
            cartoon = cartoon if drawn is None else drawn
            assert cartoon is not None  # the first frame repeats none
            if after is None or frame.pts > after:
                yield frame, cartoon

    def _warm_up(self, after: int | None) -> int | None:
        """Give the timestamp after which to begin, for frames later than `after`."""
        rate = self.video.rate
        if after is None or self.steady is None or not rate:
            return after
        earlier = after - round(WARM_UP / rate / self.video.time_base)
        begin = self.part.after(self.video)
        return earlier if begin is None else max(earlier, begin)

    def _sketched(self, marked: tuple[Frame, bool]) -> tuple[Frame, _Sketch | None]:
        frame, repeated = marked
        if repeated:
            return frame, None
        return frame, self.style.sketch(frame.photo, self.options, frame.reduced)

    def _steadied(
        self, sketches: Iterator[tuple[Frame, _Sketch | None]]
    ) -> Iterator[tuple[Frame, _Sketch | None]]:
        for frame, sketch in sketches:
            if self.steady is None or sketch is None:
                yield frame, sketch
            else:
                small, cartoon = sketch
                yield frame, (small, self.steady(small, cartoon))

    def _finished(self, sketched: tuple[Frame, _Sketch | None]) -> tuple[Frame, PhotoArray | None]:
        frame, sketch = sketched
        return frame, sketch and self.style.finish(frame.photo, *sketch, self.options.strength)

    def _wanted(self, after: int | None) -> Iterator[Frame]:
        begin = self.part.after(self.video) if after is None else after
        until = self.part.until(self.video)
        waiting: Frame | None = None
        shape = self.size[::-1]
        working = self.style.working_size(shape, self.options.resolution)
        reduced = None if working == shape else working[::-1]
        for frame in read_frames(
            self.video, after=begin, max_height=self.max_height, reduced=reduced, deep=self.deep
        ):
            if waiting is not None:
                yield replace(waiting, duration=frame.pts - waiting.pts)
            waiting = frame
            if until is not None and frame.pts >= until:
                return
        if waiting is not None:
            yield waiting


def drawing_of(
    source: Path,
    style: Style,
    style_options: StyleOptions,
    options: VideoOptions,
    jobs: int | None,
    *,
    deep: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Drawing:
    """Prepare to draw a video; the arguments and errors are those of `cartoonize_video`."""
    part, stabilize = part_of(options.start, options.end), options.stabilize
    if deep and stabilize not in (None, "off"):
        raise UsageError("cartoons of 10 bits cannot be made steady: --stabilize off or --bits 8")
    steady: Steady | None = None
    if callable(stabilize):
        steady = stabilize
    elif stabilize in ("on", "strong"):
        steady = Stabilizer(stabilize)
    video = read_video(source, max_pixels=max_pixels)
    if is_hdr(video):
        _logger.warning("%s: is in HDR; the cartoon is not, and highlights become white", source)
    jobs = usual_jobs() if jobs is None else jobs
    style_options = video_style_options(style, style_options)
    return Drawing(
        video, style.shared(jobs), style_options, part, options.max_height, jobs, steady, deep
    )


def video_style_options(style: Style, options: StyleOptions) -> StyleOptions:
    """Let the network work at 540 pixels, or at the style's own resolution if that is less."""
    if options.resolution is not None:
        return options
    return replace(options, resolution=min(RESOLUTION, style.card.working_resolution))


def usual_jobs() -> int:
    """Tell how many frames are drawn at a time unless told."""
    return min(MOST_JOBS, available_processors())


def _marked(frames: Iterator[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Tell of each frame whether it repeats the one before, pixel by pixel."""
    last: PhotoArray | None = None
    for frame in frames:
        repeated = last is not None and np.array_equal(last, frame.photo)
        yield frame, repeated
        last = frame.photo


def composed(photo: PhotoArray, cartoon: PhotoArray, compare: Compare | None) -> PhotoArray:
    """Put a photo and its cartoon, both (H, W, 3), into one picture, if that is wanted."""
    if compare == "side":
        return np.concatenate([photo, cartoon], axis=1)
    if compare == "split":
        middle = photo.shape[1] // 2
        line = np.full_like(photo[:, :2], white(photo))
        return np.concatenate([photo[:, : middle - 1], line, cartoon[:, middle + 1 :]], axis=1)
    return cartoon
