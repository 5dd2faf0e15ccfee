"""Draw the frames of a video: read ahead, several at a time, yielded in order."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.util import find_spec
from itertools import chain, pairwise
from math import ceil, isfinite
from pathlib import Path
from typing import TypeVar

import numpy as np
from av.video.frame import VideoFrame

from toonbox.engine.style import Style, blended
from toonbox.errors import UsageError
from toonbox.options import MAX_PIXELS, Compare, StyleOptions, VideoOptions
from toonbox.parallel import available_processors, ordered_parallel_map, prefetch
from toonbox.pixels import PhotoArray, Uint8Array, white
from toonbox.video.read import Frame, Video, read_frames, read_video, reduced_size
from toonbox.video.steadying import Seen, Stabilizer

_logger = logging.getLogger(__name__)

RESOLUTION = 540  # at which the network works, unless the style's own is smaller
READ_AHEAD = 4  # frames; more would only take memory
MOST_JOBS = 4  # each needs memory of its own
WARM_UP = 48  # frames that are drawn and steadied again before a resumed video goes on
EVERY = 3  # one frame of so many is drawn where videos are steadied; the others are carried

# From a photo and its cartoon, both (h, w, 3), to the cartoon to show, all of the size at which the
# network works; what it gives is enlarged afterwards. Called for one frame after the other, as they
# are shown, but not in the thread that takes the video; a frame that repeats the one before is not
# asked about.
Steady = Callable[[Uint8Array, Uint8Array], Uint8Array]

Finished = TypeVar("Finished", PhotoArray, VideoFrame, PhotoArray | VideoFrame)


@dataclass
class _Step:
    """A frame on its way, and what has been made of it so far: nothing if it is repeated."""

    frame: Frame
    repeated: bool  # is the frame before, pixel by pixel
    carried: bool = False  # is not drawn, but what was drawn before is moved along
    photo: PhotoArray | None = None  # of the size at which the network works, as is the cartoon
    seen: Seen | None = None
    cartoon: PhotoArray | None = None


@dataclass(frozen=True)
class Part:
    """The part of a video that is wanted, in seconds after its beginning."""

    start: Fraction = Fraction(0)
    end: Fraction | None = None  # None for the video's

    def __post_init__(self) -> None:
        if self.start < 0 or (self.end is not None and self.end <= self.start):
            raise UsageError("--start must be at least 0, and --end later than --start")

    def after(self, video: Video) -> int | None:
        """Return the timestamp after which it begins; None for the video's beginning."""
        return video.start + ceil(self.start / video.time_base) - 1 if self.start else None

    def until(self, video: Video) -> int | None:
        """Return the timestamp before which it ends; None for the video's end."""
        return None if self.end is None else video.start + ceil(self.end / video.time_base)

    def seconds(self, video: Video) -> float | None:
        """Return how long it is, if the video knows its own length."""
        ends = [float(end) for end in (video.seconds, self.end) if end is not None]
        return max(0.0, min(ends) - float(self.start)) if ends else None


def part_of(start: float | None, end: float | None = None) -> Part:
    """Make a part of numbers; 0.1 is a tenth, not its nearest binary fraction."""
    for time in (start, end):
        if time is not None and not isfinite(time):
            raise UsageError(f"a time must be a number of seconds, got {time}")
    return Part(Fraction(str(start or 0)), None if end is None else Fraction(str(end)))


class Drawing:
    """How a video is drawn."""

    def __init__(
        self,
        source: Path,
        style: Style,
        style_options: StyleOptions,
        options: VideoOptions,
        jobs: int | None,
        *,
        deep: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Read the video's header; arguments and errors are those of `cartoonize_video`.

        If `deep`, photos and cartoons have 16 bits.
        """
        self.part, stabilize = part_of(options.start, options.end), options.stabilize
        if deep and stabilize not in (None, "off"):
            raise UsageError(
                "10-bit cartoons cannot be stabilized: use --stabilize off or --bits 8"
            )
        self._steady: Steady | None = None
        if callable(stabilize):
            self._steady = stabilize
        elif stabilize in ("on", "strong"):
            self._steady = Stabilizer(stabilize)  # not every frame is drawn then
        self.video = read_video(source, max_pixels=max_pixels)
        if self.video.colours.hdr:
            _logger.warning(
                "%s: is in HDR; the cartoon is not, and highlights become white", source
            )
        if self.video.alpha:
            _logger.warning("%s: its alpha channel is left out; the cartoon is opaque", source)
        if jobs is not None and jobs < 1:
            raise UsageError(f"jobs must be at least 1, got {jobs}")
        self._jobs = usual_jobs() if jobs is None else jobs
        self.style = style.shared(self._jobs)
        self.options = video_style_options(style, style_options)
        self._compare, self._max_height, self._deep = options.compare, options.max_height, deep
        # Width and height of what is drawn, of what the network works at, and of what is written.
        self._size = width, height = reduced_size(self.video.size, self._max_height)
        working = self.style.working_size((height, width), self.options.resolution)
        self._working = working[1], working[0]
        self.picture_size = (2 * width if self._compare == "side" else width), height

    def frames(self) -> Iterator[tuple[Frame, PhotoArray]]:
        """Return the wanted frames, each with the time until the next, and their cartoons."""
        return self._each(self._composed, None)

    def pictures(
        self, after: int | None, *, planar: bool
    ) -> Iterator[tuple[Frame, PhotoArray | VideoFrame]]:
        """Return what `frames` gives later than a timestamp, as it is to be written.

        Some frames before it are drawn, too, if they are steadied, to go on as if it had never
        ended. If `planar`, frames are in YUV where that is quicker and loses nothing.
        """
        enlarged = self._working != self._size and not self.video.colours.hdr
        quick = planar and enlarged and self._compare is None and find_spec("cv2") is not None
        return self._each(self._written if quick else self._composed, after)

    def _each(
        self, finish: Callable[[Frame, PhotoArray, PhotoArray], Finished], after: int | None
    ) -> Iterator[tuple[Frame, Finished]]:
        """Yield the wanted frames and what is made of their cartoons, in other threads."""

        def finished(step: _Step) -> tuple[Frame, Finished | None]:
            if step.photo is None or step.cartoon is None:
                return step.frame, None
            return step.frame, finish(step.frame, step.photo, step.cartoon)

        frames = prefetch(self._wanted(self._warm_up(after)), READ_AHEAD)
        drawn = ordered_parallel_map(self._steps(frames), self._drawn, self._jobs)
        # Each in a thread of its own: together they would take longer than encoding does.
        seen = prefetch(self._seen(drawn), 2)
        steadied = prefetch(self._steadied(seen), 2)
        last: Finished | None = None
        for frame, new in ordered_parallel_map(steadied, finished, self._jobs):
            last = last if new is None else new
            assert last is not None  # the first frame repeats none
            if after is None or frame.pts > after:
                yield frame, last

    def _composed(self, frame: Frame, photo: PhotoArray, cartoon: PhotoArray) -> PhotoArray:
        cartoon = self.style.finish(frame.photo, photo, cartoon, self.options.strength)
        return composed(frame.photo, cartoon, self._compare)

    def _written(self, frame: Frame, photo: PhotoArray, cartoon: PhotoArray) -> VideoFrame:
        """Enlarge luma alone: of the colours, a quarter of the pixels is written."""
        from toonbox.video import planes

        colours, strength = self.video.colours.written.of_size(self._size), self.options.strength
        photo, cartoon = planes.to_yuv(photo, colours), planes.to_yuv(cartoon, colours)
        large = frame.luma()
        luma = planes.upsample_luma(large, photo[..., 0], cartoon[..., 0])
        drawn = blended(photo, cartoon, strength)
        return planes.to_frame(blended(large, luma, strength), drawn, colours)

    def _warm_up(self, after: int | None) -> int | None:
        """Return the timestamp after which to begin, for frames later than `after`."""
        rate = self.video.rate
        if after is None or self._steady is None or not rate:
            return after
        earlier = after - round(WARM_UP / rate / self.video.time_base)
        begin = self.part.after(self.video)
        return earlier if begin is None else max(earlier, begin)

    def _steps(self, frames: Iterator[Frame]) -> Iterator[_Step]:
        """Decide for each frame what is done with it: the first of each turn is drawn.

        Turns depend on nothing but the time, so that a resumed video draws the same frames.
        """
        video, last, drawn = self.video, None, None
        for frame in frames:
            number = round((frame.pts - video.start) * video.time_base * (video.rate or 25))
            turn = number // EVERY
            step = _Step(frame, repeated=last is not None and frame.repeats(last))
            if not step.repeated:
                step.carried = turn == drawn and isinstance(self._steady, Stabilizer)
                drawn = turn
            yield step
            last = frame

    def _drawn(self, step: _Step) -> _Step:
        """Draw a frame's photo at the network's size, if it is to be drawn."""
        if not step.repeated:
            frame, size = step.frame, self._working
            step.photo = frame.photo if size == frame.size else frame.resized(size)
            step.cartoon = None if step.carried else self._draw(step.photo)
        return step

    def _draw(self, photo: PhotoArray) -> PhotoArray:
        """Draw a photo, or a part of one, at the size it has."""
        return self.style.sketch(photo, replace(self.options, resolution="native"))[1]

    def _seen(self, steps: Iterator[_Step]) -> Iterator[_Step]:
        """Estimate the motion of each photo, if that is how the video is steadied."""
        for step in steps:
            if step.photo is not None and isinstance(self._steady, Stabilizer):
                step.seen = self._steady.see(step.photo)
            yield step

    def _steadied(self, steps: Iterator[_Step]) -> Iterator[_Step]:
        for step in steps:
            steady, photo, cartoon = self._steady, step.photo, step.cartoon
            if isinstance(steady, Stabilizer) and photo is not None:
                if cartoon is None:
                    step.cartoon = steady.carry(photo, self._draw, step.seen)
                else:
                    step.cartoon = steady(photo, cartoon, step.seen)
            elif steady is not None and photo is not None and cartoon is not None:
                step.cartoon = steady(photo, cartoon)
            yield step

    def _wanted(self, after: int | None) -> Iterator[Frame]:
        begin = self.part.after(self.video) if after is None else after
        until = self.part.until(self.video)
        frames = read_frames(self.video, after=begin, max_height=self._max_height, deep=self._deep)
        for frame, later in pairwise(chain(frames, (None,))):
            assert frame is not None  # only the last is
            end = frame.pts + frame.duration if later is None else later.pts
            end = end if until is None else min(end, until)
            if until is None or frame.pts < until:
                yield replace(frame, duration=end - frame.pts)
            if end == until:
                return


def video_style_options(style: Style, options: StyleOptions) -> StyleOptions:
    """Let the network work at 540 pixels, or at the style's own resolution if that is less."""
    if options.resolution is not None:
        return options
    return replace(options, resolution=min(RESOLUTION, style.card.working_resolution))


def usual_jobs() -> int:
    """Return the default number of frames drawn at a time."""
    return min(MOST_JOBS, available_processors())


def composed(photo: PhotoArray, cartoon: PhotoArray, compare: Compare | None) -> PhotoArray:
    """Put a photo and its cartoon, both (H, W, 3), into one picture, if that is wanted."""
    if compare == "side":
        return np.concatenate([photo, cartoon], axis=1)
    if compare == "split":
        middle = photo.shape[1] // 2
        line = np.full_like(photo[:, :2], white(photo))
        return np.concatenate([photo[:, : middle - 1], line, cartoon[:, middle + 1 :]], axis=1)
    return cartoon
