"""A video as an animated GIF, with one palette for all of it.

The segments are read twice, for the palette and for the frames, one frame at a time. So memory does
not grow with the video.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from av.video.frame import VideoFrame

from toonbox.images.gif import LONGEST, STEP, choose_palette, gif_blocks
from toonbox.video.read import Video, opened

_logger = logging.getLogger(__name__)

SHORTEST = 2  # steps: browsers show what asks for less for a tenth of a second
_NAMES = {"audio": "sound", "subtitle": "subtitles", "attachment": "attachments"}


def write_gif(target: Path, segments: Sequence[Path], video: Video, end: Fraction) -> None:
    """Write a video that is shown for ever; warn of what is left out.

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
    palette = choose_palette(frames)
    delays = [later - earlier for earlier, later in pairwise([*frames.starts, frames.total])]
    with opened(video.path, max_pixels=video.max_pixels) as source:
        kinds = {stream.type for stream in source.streams}
    if lost := [name for kind, name in _NAMES.items() if kind in kinds]:
        _logger.warning("%s: left out, as a GIF has none: %s", video.path, ", ".join(lost))
    if frames.left_out:
        message = "%s: %d frames are left out; browsers show no more than 50 a second in a GIF"
        _logger.warning(message, video.path, frames.left_out)
    if max(delays) > LONGEST:
        limit = float(LONGEST * STEP)
        _logger.warning("%s: GIF shows no frame longer than %g s", video.path, limit)
    with target.open("wb") as file:
        file.writelines(gif_blocks(frames, palette, delays))


@dataclass
class _Frames:
    """The frames of a video at the times that a GIF can tell; can be gone through again."""

    segments: Sequence[Path]
    video: Video  # the source, whose pixels need not be square as a GIF's are
    end: Fraction  # of the last, in seconds
    starts: list[int] = field(default_factory=list)  # of those that were given, in steps
    total: int = 0  # how long all last, in steps
    left_out: int = 0

    def __iter__(self) -> Iterator[VideoFrame]:
        first, self.starts, self.left_out = None, [], 0
        for frame, seconds in _decoded(self.segments):
            if first is None:
                first = seconds
                self.total = max(SHORTEST, round((self.end - first) / STEP))
            start = round((seconds - first) / STEP)
            if start and (start - self.starts[-1] < SHORTEST or self.total - start < SHORTEST):
                self.left_out += 1
                continue
            self.starts.append(start)
            width = self.video.square_width(frame.width, frame.height)
            yield frame.reformat(width=width, format="bgra")


def _decoded(segments: Sequence[Path]) -> Iterator[tuple[VideoFrame, Fraction]]:
    for path in segments:
        with av.open(f"file:{path}") as segment:
            for frame in segment.decode(video=0):
                yield frame, (frame.pts or 0) * (frame.time_base or Fraction(1))
