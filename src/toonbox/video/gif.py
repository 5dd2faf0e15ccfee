"""A video as an animated GIF; its segments are read twice, for the palette and for the frames."""

import logging
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from av.video.frame import VideoFrame

from toonbox.images.gif import LONGEST, STEP, choose_palette, gif_blocks
from toonbox.video.read import Video, opened
from toonbox.video.write import Segment

_logger = logging.getLogger(__name__)

SHORTEST = 2  # steps: browsers show what asks for less for a tenth of a second
_NAMES = {"audio": "sound", "subtitle": "subtitles", "attachment": "attachments"}


def write_gif(target: Path, segments: Sequence[Segment], video: Video) -> None:
    """Write a video's segments as a GIF that repeats for ever.

    Each frame begins at the hundredth of a second next to its time, so that times do not drift. Of
    those that would be shown for less than two, some are left out. Pixels become square. Raise
    OSError if it cannot be written, VideoError if the source cannot be read, or becomes too large.
    """
    length = max(SHORTEST, round((segments[-1].end - segments[0].first) / STEP))  # steps
    starts = list[int]()
    palette = choose_palette(_frames(segments, video, length, starts))
    delays = [later - earlier for earlier, later in pairwise([*starts, length])]
    with opened(video.path, max_pixels=video.max_pixels) as source:
        kinds = {stream.type for stream in source.streams}
    if lost := [name for kind, name in _NAMES.items() if kind in kinds]:
        _logger.warning("%s: left out, as a GIF has none: %s", video.path, ", ".join(lost))
    if left_out := sum(segment.frames for segment in segments) - len(delays):
        message = "%s: %d frames are left out; browsers show no more than 50 a second in a GIF"
        _logger.warning(message, video.path, left_out)
    if max(delays) > LONGEST:
        limit = float(LONGEST * STEP)
        _logger.warning("%s: GIF shows no frame longer than %g s", video.path, limit)
    with target.open("wb") as file:
        file.writelines(gif_blocks(_frames(segments, video, length, []), palette, delays))


def _frames(
    segments: Sequence[Segment], video: Video, length: int, starts: list[int]
) -> Iterator[VideoFrame]:
    """Yield the frames that a GIF of `length` steps can show; append their times to `starts`."""
    for frame, seconds in _decoded(segments):
        start = round((seconds - segments[0].first) / STEP)
        if starts and min(start - starts[-1], length - start) < SHORTEST:
            continue
        starts.append(start)
        width = video.square_width(frame.width, frame.height)
        yield frame.reformat(width=width, format="bgra")


def _decoded(segments: Sequence[Segment]) -> Iterator[tuple[VideoFrame, Fraction]]:
    for segment in segments:
        with av.open(f"file:{segment.path}") as container:
            for frame in container.decode(video=0):
                yield frame, (frame.pts or 0) * (frame.time_base or Fraction(1))
