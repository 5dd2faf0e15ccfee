"""Convert one video to its cartoon, from disk to disk."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, islice
from math import inf
from pathlib import Path
from typing import Any

from toonbox.atomic import folder_beside, refuse_existing, replacing
from toonbox.convert.cartoonize import loaded
from toonbox.convert.job import Job, Outcome
from toonbox.engine.style import Style
from toonbox.errors import MissingExtraError, OutputError, ToonboxError, UsageError, VideoError
from toonbox.images.formats import GIF, container_of
from toonbox.options import (
    DEFAULT_STYLE,
    Options,
    OutputOptions,
    StyleOptions,
    VideoOptions,
    changed,
    split_options,
)
from toonbox.parallel import failing_alone
from toonbox.version import __version__
from toonbox.video.gif import write_gif
from toonbox.video.isolated import Stop, run_isolated
from toonbox.video.passthrough import Span, join
from toonbox.video.steadying import Stabilizer
from toonbox.video.stylizer import Drawing
from toonbox.video.write import Encoding, Segment, Track, read_segment, refuse_tiny, writing_segment

_logger = logging.getLogger(__name__)

# Frames of a segment where segments are kept: what is lost at most when a run is killed.
KEPT_LENGTH = 120
_JOB = "job.json"


def _segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.mp4"


def _kept_folder(target: Path) -> Path:
    """Return the folder of the segments of a target that are kept if it is interrupted."""
    return target.with_name(f".{target.name}.segments")


@contextmanager
def segments_beside(
    target: Path, job: dict[str, Any] | None
) -> Iterator[tuple[Path, list[Segment]]]:
    """Yield a folder for the segments of a target, and those found of the same job; make folders.

    Without a job, which is all that decides how they look, the folder is gone after the block.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if job is None:
        with folder_beside(target) as temporary:
            yield temporary, []
        return
    folder = _kept_folder(target)
    file, told = folder / _JOB, json.dumps(job, indent=2).encode()
    if folder.exists() and not (file.exists() and file.read_bytes() == told):
        _logger.warning("%s: the video or an option has changed; starting over", target)
        shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    with replacing(file) as unfinished:
        unfinished.write_bytes(told)
    done = list[Segment]()
    while (path := _segment_path(folder, len(done))).exists():
        try:
            done.append(read_segment(path))
        except OutputError:
            path.unlink()
    yield folder, done


@dataclass(frozen=True)
class Progress:
    """The progress of a video.

    Attributes:
        frames: done so far, those of earlier runs included.
        seconds: of the video, done so far.
        total: seconds of the video, or of the requested part, if known.
        new: of `frames`, those done in this run.
        drawn: all are done, and what is left is to put the file together, which takes a while for
            a GIF.
    """

    frames: int
    seconds: float
    total: float | None
    new: int
    drawn: bool = False


Report = Callable[[Progress], None]
Load = Callable[[], Style]


@dataclass(frozen=True)
class VideoResult:
    """The outcome of a video.

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
    style: str | Path | Style = DEFAULT_STYLE,
    overwrite: bool = False,
    jobs: int | None = None,
    progress: Report = lambda _: None,
    stop: Stop = lambda: False,
    **options: Any,
) -> VideoResult:
    """Turn a video into a cartoon with the same times and the same sound.

    Args:
        source: the video; a GIF is one too.
        target: .mp4, .m4v, .mov, .mkv, .webm or .gif. Missing folders are made; it appears
            only when whole.
        style: a style's name, its folder, or what `load_style` returned.
        overwrite: replace the target if it exists.
        jobs: frames to draw at a time; None for one on each core, four at most.
        progress: called after each frame, and once more when all are drawn.
        stop: asked before each frame; once it returns True, no further one is begun.
        options: the fields of `StyleOptions` and `VideoOptions`, and `metadata` and `max_pixels`
            of `OutputOptions`. The network works at a short side of 540 pixels unless told
            otherwise, or at the style's own if that is less. `stabilize` may be a function of your
            own, see `Steady`; None is "off" here.
    Raises:
        VideoError: the video cannot be read.
        UsageError: an option is unknown, out of range, or for pictures alone, or they do not go
            together.
        OutputError: the target exists or cannot be written.
        StyleError: there is no such style, or it is damaged.
        MissingExtraError: OpenCV is needed and not installed.
        UnexpectedError: anything else; what `progress`, `stop` or your own `stabilize` raises too.
    """
    told = split_options(options, StyleOptions, OutputOptions, VideoOptions)
    if ignored := {*changed(told[1])} - {"metadata", "max_pixels"}:
        raise UsageError(f"{min(ignored)} is for pictures, not for videos")
    return convert_video(
        Path(source), Path(target), loaded(style), told,
        overwrite=overwrite, jobs=jobs, progress=progress, stop=stop,
    )  # fmt: skip


def convert_video(
    source: Path,
    target: Path,
    style: Style | Load,
    options: Options,
    *,
    overwrite: bool = False,
    jobs: int | None = None,
    progress: Report = lambda _: None,
    stop: Stop = lambda: False,
) -> VideoResult:
    """Do what `cartoonize_video` does, with checked options and a style, or what loads it."""
    style_options, output, video_options = options
    if not overwrite:
        refuse_existing(target)
    container, encoding = container_of(target), _encoding_of(target, video_options)
    with failing_alone(str(source)):
        style = style if isinstance(style, Style) else style()
        drawing = Drawing(
            source, style, style_options, video_options, jobs,
            deep=encoding.bits > 8, max_pixels=output.max_pixels,
        )  # fmt: skip
        video, size = drawing.video, drawing.picture_size
        refuse_tiny(target, encoding, size)
        if container is GIF:  # what is too large should be told now
            video.square_width(*size)
        colours = video.colours.written.of_size(encoding.even_size(size))
        track = Track(size, video.time_base, video.rate, video.aspect, colours)
        job = _job(drawing, video_options) if video_options.resume else None
        try:
            with segments_beside(target, job) as (folder, done):
                length = KEPT_LENGTH if job else None
                complete = _draw(drawing, folder, done, length, track, encoding, progress, stop)
                frames, seconds = sum(segment.frames for segment in done), drawing.seconds
                keep = complete or (video_options.keep_partial and not video_options.resume)
                written = keep and bool(done)
                if written:
                    progress(Progress(frames, seconds or 0, seconds, 0, drawn=True))
                    whole = complete and video_options.end is None
                    start = done[0].first if video_options.start else -inf
                    span = Span(start, inf if whole else done[-1].end)
                    with replacing(target) as temporary:
                        if container is GIF:
                            write_gif(temporary, done, video)
                        else:
                            join(temporary, container, done, video, span, output.metadata)
                if complete:  # those of an earlier run, too
                    shutil.rmtree(_kept_folder(target), ignore_errors=True)
        except OSError as error:
            raise OutputError(f"{target} cannot be written: {error.strerror}") from error
        return VideoResult(frames, size, complete, written)


def _encoding_of(target: Path, options: VideoOptions) -> Encoding:
    """Return how to encode a video; raise UsageError if its kind of file cannot hold that."""
    container = container_of(target)
    codec = options.codec or container.codec
    if codec not in container.codecs:
        names = ", ".join(container.codecs)
        raise UsageError(f"{target.suffix} cannot hold {codec}, only {names}")
    crf, preset = options.crf, options.encoder_preset
    if container is GIF and (crf is not None or preset is not None):
        raise UsageError("a GIF has neither crf nor encoder preset")
    return Encoding(codec, crf, preset, 8 if options.bits is None else options.bits)


def _refusal(target: Path, options: VideoOptions) -> UsageError | None:
    """Return why a target's kind of file cannot hold what is wanted."""
    try:
        _encoding_of(target, options)
    except UsageError as error:
        return error
    return None


def convert_videos(
    jobs: Sequence[Job],
    style: Style,
    options: Options,
    *,
    frames: int | None,
    stop: Stop,
    showing: Callable[[Path], AbstractContextManager[Report]],
    load: Load | None = None,
) -> Iterator[Outcome]:
    """Convert videos one after the other, and report each but one that is stopped.

    Args:
        jobs, style, options, stop: as in `convert_video`.
        frames: to draw at a time.
        showing: gives what to tell of a video's progress while the block lasts.
        load: loads the style where each video has a process of its own, so that a crash of a
            decoder ends only that one; None converts them in this process.
    Raises:
        UsageError, MissingExtraError: no video can be converted so.
    """
    if (stabilize := options[2].stabilize) in ("on", "strong"):
        Stabilizer(stabilize)  # reports what is missing once, and now
    targets = [job.target for job in jobs if job.target is not None]  # only pictures have none
    refusals = [_refusal(target, options[2]) for target in targets]
    if refusals and refusals[0] is not None and all(refusals):
        raise refusals[0]
    for job, target, refusal in zip(jobs, targets, refusals, strict=True):
        if stop():
            return
        source, began = job.source, time.perf_counter()
        if refusal is not None:
            error = OutputError(f"{target} cannot be written: {refusal}")
            yield Outcome(source, target, "failed", error=error)
            continue
        convert = partial(
            convert_video, source, target, load or style, options,
            overwrite=job.on_existing == "overwrite", jobs=frames,
        )  # fmt: skip
        try:
            with showing(source) as progress:
                if load is None:
                    result = convert(progress=progress, stop=stop)
                else:
                    result = run_isolated(str(source), convert, progress=progress, stop=stop)
        except (UsageError, MissingExtraError):
            raise
        except ToonboxError as failure:
            yield Outcome(source, target, "failed", time.perf_counter() - began, error=failure)
        else:
            if result.written:
                yield Outcome(source, target, "ok", time.perf_counter() - began, result.size)


def _draw(
    drawing: Drawing,
    folder: Path,
    done: list[Segment],
    length: int | None,
    track: Track,
    encoding: Encoding,
    progress: Report,
    stop: Stop,
) -> bool:
    """Draw and encode what is not in the finished segments yet; return whether all is done.

    A new segment has `length` frames, or all that are left.
    """
    video, total = drawing.video, drawing.seconds
    start = video.start + round(drawing.start / video.time_base)
    after = round(done[-1].last / video.time_base) if done else None
    before, new = sum(segment.frames for segment in done), 0
    drawn = drawing.pictures(after, planar=encoding.takes_planes(track.size))
    stopped = stop()
    for begun in () if stopped else drawn:
        path = _segment_path(folder, len(done))
        with replacing(path) as temporary, writing_segment(temporary, track, encoding) as writer:
            for frame, picture in chain([begun], islice(drawn, length and length - 1)):
                writer.write(picture, frame.pts, frame.duration)
                new += 1
                seconds = float((frame.pts + frame.duration - start) * video.time_base)
                progress(Progress(before + new, seconds, total, new))
                if stopped := stop():
                    break
        done.append(read_segment(path))
        if stopped:
            break
    if not done and not stopped:
        raise VideoError(f"{video.path}: has no frames in the requested part")
    return not stopped


def _job(drawing: Drawing, options: VideoOptions) -> dict[str, Any]:
    """Return everything that determines the content of the segments."""
    status = drawing.video.path.stat()
    stabilize = "own" if callable(options.stabilize) else options.stabilize or "off"
    settings = {**vars(options), "stabilize": stabilize, "keep_partial": None}
    return {
        "toonbox": __version__,
        "video": [str(drawing.video.path.resolve()), status.st_size, status.st_mtime_ns],
        "style": drawing.style.card.onnx_sha256,
        "look": asdict(drawing.options),
        "settings": settings,
    }
