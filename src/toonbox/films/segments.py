"""Segments of a film's pictures, beside the film that they will become."""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from toonbox.errors import OutputError
from toonbox.files import folder_beside, replacing
from toonbox.media.joining import Span
from toonbox.media.video_encoding import SegmentTimes, segment_times

_logger = logging.getLogger(__name__)

# Frames of a segment where segments are kept: what is lost at most when a run is killed.
KEPT_LENGTH = 120
_WHOLE_FILM = 1 << 62
_JOB = "job.json"


@dataclass
class Segments:
    """Files of pictures in a folder, in order; each complete.

    Attributes:
        folder: where they are.
        length: frames of each, but for the last.
        paths: the files.
        times: what each shows.
    """

    folder: Path
    length: int
    paths: list[Path] = field(default_factory=list)
    times: list[SegmentTimes] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """Count the frames of all."""
        return sum(times.frames for times in self.times)

    def last_pts(self, time_base: Fraction) -> int | None:
        """Give the timestamp of the last frame there is."""
        return round(self.times[-1].last / time_base) if self.times else None

    def span(self, *, moved: bool, cut: bool) -> Span:
        """Tell which part of the film they show.

        Args:
            moved: whether it should begin at 0.
            cut: whether what comes later is to be left out.
        """
        start, end = self.times[0].first, self.times[-1].end
        return Span(start if moved else None, end if cut else None)

    @contextmanager
    def adding(self) -> Iterator[Path]:
        """Give the name for the next one, which is there if the block succeeds."""
        path = self._path(len(self.paths))
        with replacing(path) as temporary:
            yield temporary
        self._add(path)

    def find(self) -> None:
        """Take over those that are there, up to the first that is missing or damaged."""
        while (path := self._path(len(self.paths))).exists():
            try:
                self._add(path)
            except OutputError:
                path.unlink()
                return

    def discard(self) -> None:
        """Remove them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.mp4"

    def _add(self, path: Path) -> None:
        self.times.append(segment_times(path))
        self.paths.append(path)


@contextmanager
def segments_beside(target: Path, job: dict[str, Any] | None) -> Iterator[Segments]:
    """Give the segments for a film.

    Args:
        target: the film that they will become; missing folders are made.
        job: what decides how they look; they are kept until they are discarded, and those of the
            same job are found again. None for a single one, which is gone after the block.
    Raises:
        OSError: they cannot be kept there.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if job is None:
        with folder_beside(target) as temporary:
            yield Segments(temporary, _WHOLE_FILM)
        return
    folder = target.with_name(f".{target.name}.segments")
    text = json.dumps(job, indent=2)
    if folder.exists() and not _is_of(folder, text):
        _logger.warning("%s: other options or another film; what was done is done anew", target)
        shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    with replacing(folder / _JOB) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    segments = Segments(folder, KEPT_LENGTH)
    segments.find()
    yield segments


def _is_of(folder: Path, job: str) -> bool:
    with suppress(OSError, UnicodeDecodeError):
        return (folder / _JOB).read_text(encoding="utf-8") == job
    return False
