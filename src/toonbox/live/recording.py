"""What is shown, written into a video file as it goes."""

from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

from toonbox.errors import UsageError
from toonbox.media.containers import GIF, container_of
from toonbox.media.video import Frame
from toonbox.media.video_encoding import Encoding, SegmentWriter, Track, writing_segment
from toonbox.picture import writing
from toonbox.pixels import Uint8Array


class Recording:
    """A video of what is shown, which begins with the first picture; without any there is no file.

    The file is complete once the block has ended without an error, and not there before.
    """

    def __init__(self, target: Path, track: Track) -> None:
        """Prepare it.

        Args:
            target: .mp4, .m4v, .mkv or .webm.
            track: what the pictures have in common; their size is that of the first.
        Raises:
            UsageError: a file that cannot be written.
        """
        self._container = container_of(target)
        if self._container is GIF:  # its palette is known only when all is there
            raise UsageError(f"{target}: a recording is .mp4, .m4v, .mkv or .webm")
        self._target, self._track = target, track
        self._stack = ExitStack()
        self._writer: SegmentWriter | None = None
        self._waiting: Frame | None = None
        self._first = self._step = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def add(self, rgb: Uint8Array, pts: int, duration: int = 0) -> None:
        """Add a picture, (H, W, 3).

        Args:
            rgb: the picture.
            pts: when it was taken, in the unit of the track; the first is shown at 0.
            duration: how long it is shown, as long as there is none after it; 0 for as long as the
                one before.
        Raises:
            OSError: the file cannot be written; an OutputError, once the block has ended by it.
        """
        if self._writer is None:
            self._begin(rgb, pts)
        self._write(pts - self._first)
        self._waiting = Frame(rgb, pts - self._first, duration)

    def _begin(self, rgb: Uint8Array, pts: int) -> None:
        track = replace(self._track, size=(rgb.shape[1], rgb.shape[0]))
        encoding = Encoding(self._container.codec)
        self._first, self._step = pts, round(Fraction(1, 25) / track.time_base)
        path = self._stack.enter_context(writing(self._target))
        muxer = self._container.muxer
        self._writer = self._stack.enter_context(writing_segment(path, track, encoding, muxer))
        self._stack.callback(self._write)

    def _write(self, until: int | None = None) -> None:
        """Write the picture that waits to know how long it is shown."""
        if self._waiting is None or self._writer is None:
            return
        frame = self._waiting
        lasts = frame.duration or self._step if until is None else until - frame.pts
        self._writer.write(frame.photo, frame.pts, lasts)
        self._step = lasts
