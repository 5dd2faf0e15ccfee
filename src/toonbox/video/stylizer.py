"""Draw the frames of a video: read ahead, several at a time, yielded in order.

`video_frames` gives them to whoever shows or encodes them; the rest of this package writes them.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.util import find_spec
from itertools import chain, pairwise
from math import ceil, isfinite
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from av.video.frame import VideoFrame

from toonbox.convert.cartoonize import loaded
from toonbox.engine.style import Style, blended
from toonbox.errors import UsageError, VideoError
from toonbox.options import (
    DEFAULT_STYLE,
    MAX_PIXELS,
    Compare,
    StyleOptions,
    VideoOptions,
    changed,
    split_options,
)
from toonbox.parallel import available_processors, failing_alone, ordered_parallel_map, prefetch
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
    carried: bool  # is not drawn, but what was drawn before is moved along
    photo: PhotoArray | None = None  # of the size at which the network works, as is the cartoon
    seen: Seen | None = None
    cartoon: PhotoArray | None = None


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
        self.start = start = _exact(options.start or 0)  # of the wanted part, in seconds
        end, stabilize = None if options.end is None else _exact(options.end), options.stabilize
        if start < 0 or (end is not None and end <= start):
            raise UsageError("--start must be at least 0, and --end later than --start")
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
        ends = [float(each) for each in (self.video.seconds, end) if each is not None]
        self.seconds = max(0.0, min(ends) - float(start)) if ends else None  # of it, if known
        # The timestamps after which and before which it lies; None for the video's.
        self._after, unit = _after(self.video, start), self.video.time_base
        self._until = None if end is None else self.video.start + ceil(end / unit)
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
        return earlier if self._after is None else max(earlier, self._after)

    def _steps(self, frames: Iterator[Frame]) -> Iterator[_Step]:
        """Decide for each frame what is done with it: the first of each turn is drawn.

        Turns depend on nothing but the time, so that a resumed video draws the same frames.
        """
        video, last, drawn = self.video, None, None
        for frame in frames:
            number = round((frame.pts - video.start) * video.time_base * (video.rate or 25))
            turn, repeated = number // EVERY, last is not None and frame.repeats(last)
            carried = not repeated and turn == drawn and isinstance(self._steady, Stabilizer)
            drawn = drawn if repeated else turn
            yield _Step(frame, repeated, carried)
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
                seen, step.seen = step.seen, None  # which takes memory
                if cartoon is None:
                    step.cartoon = steady.carry(photo, self._draw, seen)
                else:
                    step.cartoon = steady(photo, cartoon, seen)
            elif steady is not None and photo is not None and cartoon is not None:
                step.cartoon = steady(photo, cartoon)
            yield step

    def _wanted(self, after: int | None) -> Iterator[Frame]:
        begin, until = self._after if after is None else after, self._until
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


def _exact(time: float) -> Fraction:
    """Return seconds as they are written: 0.1 is a tenth, not its nearest binary fraction."""
    if not isfinite(time):
        raise UsageError(f"a time must be a number of seconds, got {time}")
    return Fraction(str(time))


def _after(video: Video, seconds: Fraction) -> int | None:
    """Return the timestamp after which a part begins; None for the video's beginning."""
    return video.start + ceil(seconds / video.time_base) - 1 if seconds > 0 else None


@dataclass(frozen=True)
class CartoonFrame:
    """A frame: when it is shown, exactly, in the video's own time, and (H, W, 3) RGB."""

    seconds: Fraction
    photo: Uint8Array
    cartoon: Uint8Array


def video_frames(
    source: str | Path,
    *,
    style: str | Path | Style = DEFAULT_STYLE,
    jobs: int | None = None,
    max_pixels: int = MAX_PIXELS,
    **options: Any,
) -> Iterator[CartoonFrame]:
    """Yield the cartoons of a video's frames, to show or encode them yourself.

    Frames are read and drawn a little ahead in other threads.

    Args:
        source, style, jobs: as in `cartoonize_video`.
        max_pixels: as in `OutputOptions`.
        options: the fields of `StyleOptions`, and start, end, max_height and stabilize of
            `VideoOptions`.
    Raises:
        VideoError, UsageError, StyleError, MissingExtraError, UnexpectedError: as in
            `cartoonize_video`, with the first frame.
    """
    style_options, video_options = split_options(options, StyleOptions, VideoOptions)
    if ignored := {*changed(video_options)} - {"start", "end", "max_height", "stabilize"}:
        raise UsageError(f"{min(ignored)} is only for videos that are written")
    with failing_alone(str(source)):
        drawing = Drawing(
            Path(source), loaded(style), style_options, video_options, jobs, max_pixels=max_pixels
        )
        for frame, cartoon in drawing.frames():
            yield CartoonFrame(frame.pts * drawing.video.time_base, frame.photo, cartoon)


def frame_at(
    source: str | Path, seconds: float, max_height: int | None = None, max_pixels: int = MAX_PIXELS
) -> tuple[Uint8Array, Video]:
    """Return the frame, (H, W, 3) RGB, that a video shows after so many seconds; and the video.

    Raise VideoError if it cannot be read or ends before, UsageError if the time is negative.
    """
    video = read_video(Path(source), max_pixels=max_pixels)
    wanted = _exact(seconds)
    if wanted < 0:
        raise UsageError(f"a time must be at least 0, got {seconds}")
    exists = video.seconds is None or wanted <= video.seconds
    shown, end, reached = None, Fraction(0), False
    # It is hardly older than a second, but slides last longer.
    for seconds_before in (1, 60, wanted) if exists else (1,):
        after = _after(video, wanted - seconds_before)
        for frame in read_frames(video, after=after, max_height=max_height):
            begins = (frame.pts - video.start) * video.time_base
            reached = begins >= wanted
            if begins <= wanted:
                shown, end = frame, begins + frame.duration * video.time_base
            if reached:
                break
        if shown is not None:
            break
    if shown is None or not (exists or reached or wanted <= end):
        raise VideoError(f"{source}: has no frame at {seconds:g} seconds")
    return shown.photo, video
