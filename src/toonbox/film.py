"""One film into its cartoon: from disk to disk, or frame by frame."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from toonbox import pictures
from toonbox.drawing import (
    RESOLUTION,
    Compare,
    Drawing,
    Part,
    Steady,
    composed,
    part_of,
    usual_jobs,
)
from toonbox.engine.style import DEFAULT_STYLE
from toonbox.engine.stylize import Look, Style, load_style
from toonbox.errors import OutputError, UsageError, VideoError
from toonbox.files import replacing
from toonbox.media.containers import GIF, container_of
from toonbox.media.gif_film import write_gif
from toonbox.media.hardware import Hardware
from toonbox.media.joining import join
from toonbox.media.metadata import Keep
from toonbox.media.video import Video, is_hdr, read_frames, read_video
from toonbox.media.video_encoding import Encoding, Track, writing_segment
from toonbox.picture import refuse_existing
from toonbox.pixels import Uint8Array
from toonbox.segments import Segments, segments_beside
from toonbox.steadying import Stabilizer, Strength
from toonbox.version import __version__

_logger = logging.getLogger(__name__)

Stabilize = Literal["off"] | Strength


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


@dataclass(frozen=True)
class CartoonFrame:
    """A frame of a film.

    Attributes:
        seconds: when it is shown, exactly, in the film's own time.
        photo: (H, W, 3) RGB.
        cartoon: the same shape.
    """

    seconds: Fraction
    photo: Uint8Array
    cartoon: Uint8Array


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
    drawing = drawing_of(
        source, style, look, (start, end), max_height, jobs, stabilize, hardware == "auto",
        deep=encoding.bits > 8,
    )  # fmt: skip
    if hardware == "auto":
        encoding = encoding.in_hardware(_size(drawing, compare))
        message = "%s: decoded by %s, encoded by %s"
        _logger.warning(message, source, drawing.video.device or "software", encoding.encoder)
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
                        write_gif(temporary, segments.paths, drawing.video, segments.times[-1].end)
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


def cartoon_frames(
    source: str | Path,
    *,
    style: str | Path | pictures.Style | Style = DEFAULT_STYLE,
    start: float | None = None,
    end: float | None = None,
    max_height: int | None = None,
    jobs: int | None = None,
    stabilize: Stabilize | Steady | None = None,
    **look: Unpack[Look],
) -> Iterator[CartoonFrame]:
    """Give the cartoons of a film's frames, for those who show or encode them themselves.

    Frames are read and drawn a little ahead in other threads.

    Args:
        source, style, start, end, max_height, jobs, stabilize, look: as in `cartoonize_video`.
    Raises:
        VideoError, UsageError, StyleError, MissingExtraError: as in `cartoonize_video`, with the
            first frame.
    """
    drawing = drawing_of(Path(source), style, look, (start, end), max_height, jobs, stabilize)
    for frame, cartoon in drawing.frames():
        yield CartoonFrame(frame.pts * drawing.video.time_base, frame.photo, cartoon)


def frame_at(
    source: str | Path, seconds: float, *, max_height: int | None = None
) -> tuple[Uint8Array, Fraction]:
    """Read the frame of a film that is shown `seconds` after its beginning.

    Returns:
        (H, W, 3) RGB, and the width of its pixels divided by their height.
    Raises:
        VideoError: the film cannot be read, or ends before.
        UsageError: the time is negative.
    """
    video = read_video(Path(source))
    wanted = part_of(seconds, None).start or Fraction(0)
    # Frames last; this one is hardly older than a second.
    after = Part(max(Fraction(0), wanted - 1)).after(video)
    shown = None
    for frame in read_frames(video, after=after, max_height=max_height):
        begins = (frame.pts - video.start) * video.time_base
        if begins > wanted and shown is not None:
            break
        shown = frame
        if begins >= wanted:
            break
    else:
        end = (shown.pts + shown.duration - video.start) * video.time_base if shown else 0
        if shown is None or (video.seconds is not None and wanted > max(video.seconds, end)):
            raise VideoError(f"{source}: has no frame at {seconds:g} seconds")
    return shown.photo, video.aspect


def film_look(style: Style, look: Look) -> Look:
    """Let the network work at 540 pixels, or at the style's own resolution if that is less."""
    if look.get("resolution") is not None:
        return look
    return {**look, "resolution": min(RESOLUTION, style.card.working_resolution)}


def _check_hardware(hardware: Hardware | None, encoder_preset: str | None, bits: int) -> None:
    if hardware not in (None, "auto", "off"):
        raise UsageError(f"hardware must be auto or off, got {hardware!r}")
    if hardware == "auto" and encoder_preset is not None:
        raise UsageError("--encoder-preset is for software encoders, without --hardware auto")
    if hardware == "auto" and bits > 8:
        raise UsageError("--bits 10 is for software encoders, without --hardware auto")


def drawing_of(
    source: Path,
    style: str | Path | pictures.Style | Style,
    look: Look,
    part: tuple[float | None, float | None],
    max_height: int | None,
    jobs: int | None,
    stabilize: Stabilize | Steady | None,
    hardware: bool = False,
    deep: bool = False,
) -> Drawing:
    """Prepare to draw a film; the arguments and errors are those of `cartoonize_video`."""
    wanted = part_of(*part)
    if max_height is not None and max_height < 2:
        raise UsageError(f"max_height must be at least 2, got {max_height}")
    if deep and stabilize not in (None, "off"):
        raise UsageError("cartoons of 10 bits cannot be made steady: --stabilize off or --bits 8")
    steady = stabilize if callable(stabilize) else None
    if isinstance(stabilize, str) and stabilize != "off":
        steady = Stabilizer(stabilize)
    video = read_video(source, hardware=hardware)
    if is_hdr(video):
        _logger.warning("%s: is in HDR; the cartoon is not, and highlights become white", source)
    if isinstance(style, pictures.Style):
        style = style.network
    loaded = style if isinstance(style, Style) else load_style(style)
    jobs = usual_jobs() if jobs is None else jobs
    look = film_look(loaded, look)
    return Drawing(video, loaded.shared(jobs), look, wanted, max_height, jobs, steady, deep)


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
