"""One film into its cartoon, from disk to disk."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypedDict, Unpack

from toonbox import pictures
from toonbox.engine.style import DEFAULT_STYLE
from toonbox.engine.stylize import Look, Style
from toonbox.errors import OutputError, UsageError, VideoError, failing_alone
from toonbox.files import replacing
from toonbox.films.drawing import Compare, Drawing, Steady, composed, drawing_of
from toonbox.films.segments import Segments, segments_beside
from toonbox.films.steadying import Stabilize
from toonbox.media.containers import GIF, container_of
from toonbox.media.gif_film import write_gif
from toonbox.media.hardware import Hardware
from toonbox.media.images import MAX_PIXELS
from toonbox.media.joining import join
from toonbox.media.metadata import Keep
from toonbox.media.video import Video
from toonbox.media.video_encoding import Encoding, Track, refuse_tiny, writing_segment
from toonbox.picture import refuse_existing
from toonbox.version import __version__

_logger = logging.getLogger(__name__)


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
