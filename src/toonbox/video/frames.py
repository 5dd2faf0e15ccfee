"""Iterate over the cartoons of a video, to show or encode them yourself."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from toonbox.convert.cartoonize import loaded
from toonbox.engine.style import Style
from toonbox.errors import UsageError, VideoError
from toonbox.options import (
    DEFAULT_STYLE,
    MAX_PIXELS,
    StyleOptions,
    VideoOptions,
    changed,
    split_options,
)
from toonbox.parallel import failing_alone
from toonbox.pixels import Uint8Array
from toonbox.video.read import Video, read_frames, read_video
from toonbox.video.stylizer import Drawing, Part, part_of


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
    wanted = part_of(seconds).start
    exists = video.seconds is None or wanted <= video.seconds
    shown, end, reached = None, Fraction(0), False
    # It is hardly older than a second, but slides last longer.
    for seconds_before in (1, 60, wanted) if exists else (1,):
        after = Part(max(Fraction(0), wanted - seconds_before)).after(video)
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
