"""One film into its cartoon, from disk to disk."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypedDict, Unpack

from toonbox.atomic import folder_beside, replacing
from toonbox.convert import cartoonize as pictures
from toonbox.convert.job import refuse_existing
from toonbox.engine.style import DEFAULT_STYLE
from toonbox.engine.stylize import Look, Style
from toonbox.errors import OutputError, UsageError, VideoError, failing_alone
from toonbox.images.formats import GIF, container_of
from toonbox.images.metadata import Keep
from toonbox.images.picture import MAX_PIXELS
from toonbox.version import __version__
from toonbox.video.gif import write_gif
from toonbox.video.hardware import Hardware
from toonbox.video.passthrough import Span, join
from toonbox.video.read import Video
from toonbox.video.steadying import Stabilize
from toonbox.video.stylizer import Compare, Drawing, Steady, composed, drawing_of
from toonbox.video.write import (
    Encoding,
    SegmentTimes,
    Track,
    refuse_tiny,
    segment_times,
    writing_segment,
)

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


class Filming(TypedDict, total=False):
    """How a film is written: options of `cartoonize_video`."""

    start: float | None
    end: float | None
    max_height: int | None
    compare: Compare | None
    stabilize: Stabilize | None
    codec: str | None
    crf: int | None
    encoder_preset: str | None
    hardware: Hardware | None
    bits: int | None
    metadata: Keep
    resume: bool
    keep_partial: bool
    jobs: int | None
    max_pixels: int


@dataclass(frozen=True)
class Progress:
    """How far a film has come.

    Attributes:
        frames: done so far, those of earlier runs included.
        seconds: of the film, done so far.
        total: seconds of the film, or of the part that is wanted, if known.
        new: of `frames`, those done in this run.
        drawn: all are done, and what is left is to put the file together, which takes a while for
            a GIF.
    """

    frames: int
    seconds: float
    total: float | None
    new: int
    drawn: bool = False


@dataclass(frozen=True)
class FilmResult:
    """What became of a film.

    Attributes:
        frames: how many the cartoon has.
        size: its width and height in pixels.
        complete: False if it was stopped.
        written: False if it was stopped and nothing was to be written.
    """

    frames: int
    size: tuple[int, int]
    complete: bool
    written: bool


def cartoonize_video(
    source: str | Path,
    target: str | Path,
    *,
    style: str | Path | pictures.Style | Style = DEFAULT_STYLE,
    start: float | None = None,
    end: float | None = None,
    max_height: int | None = None,
    compare: Compare | None = None,
    stabilize: Stabilize | Steady | None = None,
    codec: str | None = None,
    crf: int | None = None,
    encoder_preset: str | None = None,
    hardware: Hardware | None = None,
    bits: int | None = None,
    metadata: Keep = "keep",
    resume: bool = False,
    overwrite: bool = False,
    keep_partial: bool = False,
    jobs: int | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    **look: Unpack[Look],
) -> FilmResult:
    """Turn a film into a cartoon with the same times and the same sound.

    Args:
        source: the film; a GIF is one too.
        target: .mp4, .m4v, .mov, .mkv, .webm or .gif. Missing folders are made; nobody ever sees
            half of it.
        style: a style's name, its folder, or what `load_style` returned.
        start: seconds after the beginning; what is before is left out.
        end: seconds after the beginning; what is later is left out.
        max_height: pixels; higher films are reduced to it.
        compare: "side" puts the film beside its cartoon, "split" shows the left half of one and
            the right half of the other.
        stabilize: "on", or "strong", makes the cartoons steady by what was shown before, which
            needs OpenCV; so does a function of your own, see `Steady`. None and "off" leave them as
            they are drawn.
        codec: h264, hevc, vp9 or av1; None is h264, and vp9 for WebM. MOV takes the first two.
        crf: quality; smaller is better and larger. None is usual for the codec.
        encoder_preset: how fast it encodes, in the encoder's words; None is fast.
        hardware: "auto" lets graphics hardware decode and encode where it can, and says what does
            what; None and "off" leave both to the processor.
        bits: 10 draws and writes more shades, for hevc and av1, without steadying; None is 8,
            which plays everywhere.
        metadata: "keep", "strip" or "no-gps".
        resume: work in segments kept beside the target until it is done, and go on with those that
            an earlier call with the same options has left.
        overwrite: replace the target if there is one.
        keep_partial: once stopped, write what is done as a film of its own.
        jobs: frames to draw at a time; None takes one for each core, four at most.
        max_pixels: width times height of a frame; films of larger ones are refused.
        progress: called after each frame, and once more when all are drawn.
        stop: asked before each frame; once it says yes, nothing else is begun.
        look: the options of `Style.__call__`. The network works at a short side of 540 pixels
            unless told otherwise, or at the style's own if that is less.
    Raises:
        VideoError: the film cannot be read.
        UsageError: an option is out of range, or they do not go together.
        OutputError: the target exists or cannot be written.
        StyleError: there is no such style, or it is damaged.
        MissingExtraError: OpenCV is needed and not installed.
        UnexpectedError: anything else; what `progress`, `stop` or your own `stabilize` raises too.
    """
    source, target = Path(source), Path(target)
    if not overwrite:
        refuse_existing(target)
    container = container_of(target)
    codec = codec or container.codec
    if codec not in container.codecs:
        names = ", ".join(container.codecs)
        raise UsageError(f"{target.suffix} cannot hold {codec}, only {names}")
    if container is GIF and (crf is not None or encoder_preset is not None):
        raise UsageError("a GIF has neither crf nor encoder preset")
    encoding = Encoding(codec, crf, encoder_preset, bits=8 if bits is None else bits)
    _check_hardware(hardware, encoder_preset, encoding.bits)
    with failing_alone(str(source)):
        drawing = drawing_of(
            source, style, look, (start, end), max_height, jobs, stabilize, hardware == "auto",
            deep=encoding.bits > 8, max_pixels=max_pixels,
        )  # fmt: skip
        if hardware == "auto":
            encoding = encoding.in_hardware(_size(drawing, compare))
            message = "%s: decoded by %s, encoded by %s"
            _logger.warning(message, source, drawing.video.device or "software", encoding.encoder)
        refuse_tiny(target, encoding, _size(drawing, compare))
        if container is GIF:  # what is too large should be told now
            drawing.video.square_width(*_size(drawing, compare))
        steadied = "own" if callable(stabilize) else stabilize or "off"
        settings = (start, end, compare, asdict(encoding), max_height, steadied)
        job = _job(drawing, settings) if resume else None
        try:
            with segments_beside(target, job) as segments:
                complete = _draw(drawing, segments, encoding, compare, progress, stop)
                written = bool(segments.paths) and (complete or (keep_partial and not resume))
                if written:
                    seconds = drawing.part.seconds(drawing.video)
                    progress(Progress(segments.frames, seconds or 0, seconds, 0, drawn=True))
                    span = segments.span(moved=bool(start), cut=end is not None or not complete)
                    with replacing(target) as temporary:
                        if container is GIF:
                            write_gif(
                                temporary, segments.paths, drawing.video, segments.times[-1].end
                            )
                        else:
                            join(
                                temporary,
                                container,
                                segments.paths,
                                drawing.video,
                                span=span,
                                keep=metadata,
                            )
                    segments.discard()
        except OSError as error:
            raise OutputError(f"{target} cannot be written: {error.strerror}") from error
        return FilmResult(segments.frames, _size(drawing, compare), complete, written)


def _check_hardware(hardware: Hardware | None, encoder_preset: str | None, bits: int) -> None:
    if hardware not in (None, "auto", "off"):
        raise UsageError(f"hardware must be auto or off, got {hardware!r}")
    if hardware == "auto" and encoder_preset is not None:
        raise UsageError("--encoder-preset is for software encoders, without --hardware auto")
    if hardware == "auto" and bits > 8:
        raise UsageError("--bits 10 is for software encoders, without --hardware auto")


def film_track(video: Video, size: tuple[int, int]) -> Track:
    """Tell what the pictures of a film have in common once they are drawn, of (width, height)."""
    return Track(size, video.time_base, video.rate, video.aspect, video.colours.written)


def _draw(
    drawing: Drawing,
    segments: Segments,
    encoding: Encoding,
    compare: Compare | None,
    progress: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> bool:
    """Draw and encode what the segments do not have yet; tell whether all is done."""
    video = drawing.video
    track = film_track(video, _size(drawing, compare))
    total, before, new = drawing.part.seconds(video), segments.frames, 0
    drawn = drawing.frames(segments.last_pts(video.time_base))
    stopped = stop()
    for begun in () if stopped else drawn:
        with segments.adding() as path, writing_segment(path, track, encoding) as writer:
            for frame, cartoon in chain([begun], islice(drawn, segments.length - 1)):
                writer.write(composed(frame.photo, cartoon, compare), frame.pts, frame.duration)
                new += 1
                first = video.start + round((drawing.part.start or 0) / video.time_base)
                seconds = float((frame.pts + frame.duration - first) * video.time_base)
                progress(Progress(before + new, seconds, total, new))
                if stopped := stop():
                    break
        if stopped:
            break
    if not segments.paths and not stopped:
        raise VideoError(f"{video.path}: has no frames in the part that is wanted")
    return not stopped


def _size(drawing: Drawing, compare: Compare | None) -> tuple[int, int]:
    width, height = drawing.size
    return (2 * width if compare == "side" else width), height


def _job(drawing: Drawing, settings: tuple[Any, ...]) -> dict[str, Any]:
    """Tell everything that decides what the segments look like."""
    status = drawing.video.path.stat()
    return {
        "toonbox": __version__,
        "film": [str(drawing.video.path.resolve()), status.st_size, status.st_mtime_ns],
        "style": drawing.style.card.onnx_sha256,
        "look": dict(drawing.look),
        "settings": list(settings),
    }
