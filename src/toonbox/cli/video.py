"""Videos on the command line: which jobs they are, their progress, the outcome of each."""

import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from toonbox.atomic import refuse_existing, write_file
from toonbox.cli.progress import shown_name
from toonbox.errors import MissingExtraError, ToonboxError, UsageError
from toonbox.options import OutputOptions, StyleOptions, VideoOptions, changed
from toonbox.parallel import failing_alone

if TYPE_CHECKING:
    from toonbox.convert.job import Job, Outcome
    from toonbox.engine.style import Style
    from toonbox.video.pipeline import Progress, VideoResult

Options = tuple[StyleOptions, OutputOptions, VideoOptions]

_SHAPING = ("start", "end", "max_height", "compare", "stabilize")  # what a GIF can be asked for too
_SHARED = ("format", "metadata", "max_pixels", "max_memory")  # of pictures and videos


def is_video_job(job: "Job | Outcome", named: Collection[Path], options: VideoOptions) -> bool:
    """Tell whether something is converted as a video: a video, or a GIF treated like one.

    Args:
        job: what there is to do, or was done before.
        named: what was named on its own. A GIF among these is treated as a video if an option asks
            for what only videos can do; those of folders stay animations.
        options: for videos.
    """
    from toonbox.images.formats import becomes_video, can_be_video, is_video

    source = job.source
    if is_video(source) or (job.target is not None and becomes_video(source, job.target)):
        return True
    asked = any(getattr(options, name) not in (None, "off") for name in _SHAPING)
    return asked and can_be_video(source) and source in named


def check_options(total: int, videos: int, output: OutputOptions, video: VideoOptions) -> None:
    """Refuse options that would have no effect.

    Args:
        total: how many inputs there are.
        videos: how many of them are videos.
        output: for pictures; some are for videos too.
        video: for videos.
    Raises:
        UsageError: names the first.
    """
    for options, kind, count in ((video, "videos", videos), (output, "pictures", total - videos)):
        for name in changed(options):
            if name not in _SHARED and not count and total:
                raise UsageError(f"--{name.replace('_', '-')} is for {kind}, and there are none")


def convert_videos(
    jobs: "Sequence[Job]",
    style: "Style",
    options: Options,
    frames: int | None,
    stop: Callable[[], bool],
    load: "Callable[[], Style] | None" = None,
) -> "Iterator[Outcome]":
    """Convert videos one after the other, and report each but one that is stopped.

    Args:
        jobs: what there is to do.
        style: loaded.
        options: how to draw, write and encode.
        frames: to draw at a time.
        stop: tells whether to stop.
        load: loads the style where each video has a process of its own, so that a crash of a
            decoder ends only that one; None converts them in this process.
    Raises:
        UsageError: an option that is as wrong for all other videos.
        MissingExtraError: they are to be stabilized, and OpenCV is not installed.
    """
    from toonbox.convert.job import Outcome
    from toonbox.video.isolated import convert_video_isolated
    from toonbox.video.pipeline import convert_video
    from toonbox.video.steadying import Stabilizer

    style_options, output, video = options
    stabilize = video.stabilize or _default_stabilization(video)
    if stabilize in ("on", "strong"):
        Stabilizer(stabilize)  # reports what is missing once, and now
    options = (style_options, output, replace(video, stabilize=stabilize))
    convert: Callable[..., VideoResult] = partial(convert_video, style=style)
    if load is not None:
        convert = partial(convert_video_isolated, load=load)
    for job in jobs:
        if stop():
            return
        source, began = job.source, time.perf_counter()
        try:
            with video_progress(source) as progress:
                result = convert(
                    source,
                    job.target,
                    options=options,
                    overwrite=job.on_existing == "overwrite",
                    jobs=frames,
                    progress=progress,
                    stop=stop,
                )
        except (UsageError, MissingExtraError):
            raise
        except ToonboxError as error:
            seconds = time.perf_counter() - began
            yield Outcome(source, job.target, "failed", seconds, error=error)
        else:
            if result.written:
                seconds = time.perf_counter() - began
                yield Outcome(source, job.target, "ok", seconds, result.size)


def _default_stabilization(video: VideoOptions) -> Literal["off", "on"]:
    if video.bits == 10:
        typer.echo("toonbox: cartoons of 10 bits are not stabilized", err=True)
        return "off"
    return default_stabilization()


def default_stabilization() -> Literal["off", "on"]:
    """Return "on" if OpenCV is installed; otherwise say how to get it."""
    from toonbox.video.steadying import INSTALL, can_steady

    if can_steady():
        return "on"
    typer.echo(
        f"toonbox: without OpenCV, cartoons may flicker; to stabilize them: {INSTALL}", err=True
    )
    return "off"


def write_preview(
    videos: list[Path],
    output: str | None,
    seconds: float,
    style: "Style",
    force: bool,
    options: Options,
) -> None:
    """Write one frame of a video as a PNG picture.

    Raises:
        UsageError: there is not one video, or the picture would not be PNG.
        VideoError: it cannot be read, ends before, or is too large with square pixels.
        OutputError: the picture exists or cannot be written.
    """
    import io

    from PIL import Image

    from toonbox.cli.targets import is_folder
    from toonbox.images.formats import can_be_video, cartoon_name
    from toonbox.video.frames import frame_at
    from toonbox.video.stylizer import composed, video_style_options

    style_options, output_options, video_options = options
    video = videos[0]
    if len(videos) > 1 or not can_be_video(video):
        raise UsageError("--preview takes one video")
    name = cartoon_name(video.with_suffix(".png"))
    target = video.with_name(name) if output is None else Path(output)
    target = target / name if output is not None and is_folder(output) else target
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target}: a preview is a PNG picture")
    if not force:
        refuse_existing(target)
    with failing_alone(str(video)):
        limits = video_options.max_height, output_options.max_pixels
        photo, about = frame_at(video, seconds, *limits)
        cartoon = style.stylize(photo, video_style_options(style, style_options))
    image = Image.fromarray(composed(photo, cartoon, video_options.compare))
    if about.aspect != 1:
        image = image.resize((about.square_width(*image.size), image.height))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    write_file(target, stream.getvalue())
    typer.echo(f"{video} -> {target}")


@contextmanager
def video_progress(video: Path) -> "Iterator[Callable[[Progress], None]]":
    """Show a bar, frames a second, speed and time left on standard error, if it is a terminal."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"))
    with Bar(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    ) as bar:
        task = bar.add_task(shown_name(video), total=None, rate="")
        rate = Rate(time.monotonic)

        def show(progress: "Progress") -> None:
            text = rate.text(progress)
            total = None if progress.drawn else progress.total  # None: who knows how long
            bar.update(task, completed=progress.seconds, total=total, rate=text)

        yield show


class Rate:
    """How fast a video is converted."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._began = clock, clock()
        self._from: float | None = None

    def text(self, progress: "Progress") -> str:
        """Return frames, frames a second, seconds of video a second, and the time left."""
        if progress.drawn:
            return f"{progress.frames} frames, writing"
        if self._from is None:  # the first frame waits until everything is loaded
            self._began, self._from = self._clock(), progress.seconds
            return f"{progress.frames} frames"
        passed = max(self._clock() - self._began, 1e-6)
        speed = (progress.seconds - self._from) / passed
        text = f"{progress.frames} frames, {(progress.new - 1) / passed:.1f} fps, {speed:.2f}x"
        if progress.total is None or speed <= 0:
            return text
        left = round(max(0.0, progress.total - progress.seconds) / speed)
        return f"{text}, {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
