"""Videos on the command line: their options, how far they are, and what became of each."""

import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from toonbox.cli.photos import shown_name
from toonbox.errors import MissingExtraError, ToonboxError, UsageError, failing_alone

if TYPE_CHECKING:
    from toonbox.convert.batch import Outcome, Status, Task
    from toonbox.convert.job import Saving
    from toonbox.engine.stylize import Look, Style
    from toonbox.video.pipeline import Filming, Progress

PANEL = "Options for videos"
_SHAPING = ("start", "end", "max_height", "compare", "stabilize")  # what a GIF can be asked for too


class Codec(StrEnum):
    """What the pictures of a video are encoded as."""

    h264 = "h264"
    hevc = "hevc"
    vp9 = "vp9"
    av1 = "av1"


class Stabilization(StrEnum):
    """How steady the pictures of a film are made."""

    OFF = "off"
    ON = "on"
    STRONG = "strong"


class HardwareUse(StrEnum):
    """Whether graphics hardware decodes and encodes."""

    AUTO = "auto"
    OFF = "off"


class Compare(StrEnum):
    """How a film is shown with its cartoon."""

    SIDE = "side"
    SPLIT = "split"


def _option(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel=PANEL, **settings)


Start = Annotated[
    str | None, _option(metavar="TIME", help="Begin here: seconds, or [H:]MM:SS, fractions too.")
]
End = Annotated[str | None, _option(metavar="TIME", help="End before this time.")]
Preview = Annotated[
    str | None,
    _option(metavar="TIME", help="Only the frame at this time, as a picture: NAME.toon.png."),
]
Comparison = Annotated[
    Compare | None,
    _option("--compare", help="Film and cartoon side by side, or half of each."),
]
Stabilize = Annotated[
    Stabilization | None,
    _option("--stabilize", help="Against flicker. Default: on, if OpenCV is installed."),
]
MaxHeight = Annotated[
    int | None, _option(min=2, metavar="N", help="Reduce videos that are higher than this.")
]
CodecName = Annotated[
    Codec | None, _option("--codec", help="Default: h264, which plays everywhere; vp9 for WebM.")
]
Crf = Annotated[
    int | None,
    _option(min=0, max=63, metavar="N", help="Smaller is better and larger. Default: 20 for h264."),
]
EncoderPreset = Annotated[
    str | None,
    _option(metavar="NAME", help="How fast it encodes: ultrafast to veryslow for h264 and hevc."),
]
Hardware = Annotated[
    HardwareUse | None,
    _option("--hardware", help="Let graphics hardware decode and encode if it can. Default: off."),
]
Bits = Annotated[
    int | None,
    _option("--bits", metavar="8|10", help="10 for smoother shades, with hevc or av1."),
]
Resume = Annotated[
    bool,
    _option("--resume", help="Keep what is done if it is stopped or killed, and go on from there."),
]
KeepPartial = Annotated[
    bool,
    _option("--keep-partial", help="Ctrl-C ends the film there; without this it leaves nothing."),
]


class VideoOptionsApart(TyperCommand):
    """Lists the options for videos after the others, under their own heading."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        shown = self.params
        videos = [p for p in shown if getattr(p, "rich_help_panel", None) == PANEL]
        try:
            self.params = [p for p in shown if p not in videos]
            super().format_options(ctx, formatter)
        finally:
            self.params = shown
        with formatter.section(PANEL):
            formatter.write_dl([r for p in videos if (r := p.get_help_record(ctx)) is not None])


def parse_time(text: str | None, option: str) -> float | None:
    """Read a time as typed: 90, 1:30, 0:01:30.5.

    Raises:
        typer.BadParameter: it is none; names the option.
    """
    if text is None:
        return None
    parts = text.split(":")
    try:
        numbers = [*map(int, parts[:-1]), float(parts[-1])]
        if len(numbers) > 3 or min(numbers) < 0 or not float(sum(numbers)) < float("inf"):
            raise ValueError
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a time, such as 90 or 1:30.5.", param_hint=f"'{option}'"
        ) from None
    return float(sum(n * 60**place for place, n in enumerate(reversed(numbers))))


def goes_as_film(task: "Task | Outcome", named: Collection[Path], filming: "Filming") -> bool:
    """Tell whether something is drawn as a film is: a video, or a GIF that should be like one.

    Args:
        task: what there is to do, or was done before.
        named: what was named on its own. A GIF among these goes as a film if what only films know
            is asked of it; those of folders stay the animations that they are.
        filming: the options for videos.
    """
    from toonbox.images.formats import becomes_film, can_be_film, is_video

    source = task.source
    if is_video(source) or (task.target is not None and becomes_film(source, task.target)):
        return True
    asked = any(filming.get(name) not in (None, "off") for name in _SHAPING)
    return asked and can_be_film(source) and source in named


def check_options(
    tasks: "Sequence[Task | Outcome]",
    films: "Sequence[Task | Outcome]",
    filming: "Filming",
    saving: "Saving",
) -> None:
    """Refuse options that nothing listens to.

    Args:
        tasks: what there is to do, or was done before.
        films: those of them that go as films.
        filming: the options for videos.
        saving: those for pictures; both may be told a format and what metadata to keep.
    Raises:
        UsageError: names the first.
    """
    shared = ("format", "metadata", "jobs", "max_pixels")
    for options, kind, there in (
        (filming, "videos", bool(films)),
        (saving, "pictures", len(films) < len(tasks)),
    ):
        given = [name for name, value in options.items() if value not in (None, False)]
        for name in given:
            if name not in shared and not there and tasks:
                raise UsageError(f"--{name.replace('_', '-')} is for {kind}, and there are none")


def cartoonize_films(
    tasks: "Sequence[Task]",
    style: "Style",
    stop: Callable[[], bool],
    filming: "Filming",
    look: "Look",
    load: "Callable[[], Style] | None" = None,
) -> "Iterator[Outcome]":
    """Follow videos from disk to disk, and tell of each but one that is stopped.

    Args:
        tasks: what there is to do.
        style: loaded.
        stop: tells whether to stop.
        filming: the options for videos.
        look: the options of `Style.__call__`.
        load: loads the style where each video has a process of its own, so that a crash of a
            decoder ends only that one; None does them here.
    Raises:
        UsageError: an option that is as wrong for all other videos.
        MissingExtraError: they are to be made steady, and OpenCV is not installed.
    """
    from toonbox.convert.batch import Outcome
    from toonbox.video.isolated import cartoonize_video_apart
    from toonbox.video.pipeline import FilmResult, cartoonize_video
    from toonbox.video.steadying import Stabilizer

    follow: Callable[..., FilmResult] = partial(cartoonize_video, style=style)
    if load is not None:
        follow = partial(cartoonize_video_apart, load=load)
    stabilize = filming["stabilize"] or _usual_for(filming)
    if stabilize != "off":
        Stabilizer(stabilize)  # what is missing should be told once, and here
    filming = {**filming, "stabilize": stabilize}
    for task in tasks:
        if stop():
            return
        began = time.perf_counter()
        size, error, written = None, None, False
        try:
            with film_progress(task.source) as progress:
                result = follow(
                    task.source,
                    task.target,
                    overwrite=task.if_there == "overwrite",
                    progress=progress,
                    stop=stop,
                    **filming,
                    **look,
                )
            size, written = result.size, result.written
        except (UsageError, MissingExtraError):
            raise
        except ToonboxError as failure:
            error = failure
        seconds = time.perf_counter() - began
        if error or written:
            status: Status = "failed" if error else "ok"
            yield Outcome(task.source, task.target, status, seconds, size, error)


def _usual_for(filming: "Filming") -> Literal["off", "on"]:
    if filming.get("bits") == 10:
        typer.echo("toonbox: cartoons of 10 bits are not made steady", err=True)
        return "off"
    return usual_stabilization()


def usual_stabilization() -> Literal["off", "on"]:
    """Choose "on" where that can be, and say otherwise why not."""
    from toonbox.video.steadying import INSTALL, can_steady

    if can_steady():
        return "on"
    typer.echo(
        f"toonbox: without OpenCV, cartoons may flicker; for steady ones: {INSTALL}", err=True
    )
    return "off"


def cartoonize_preview(
    films: list[Path],
    output: str | None,
    moment: str,
    style: "Style",
    force: bool,
    filming: "Filming",
    look: "Look",
) -> None:
    """Draw one frame of a video, as a PNG picture.

    Raises:
        UsageError: there is not one video, or the picture would not be PNG.
        VideoError: it cannot be read, ends before, or is too large with square pixels.
        OutputError: the picture is there already or cannot be written.
    """
    import io

    from PIL import Image

    from toonbox.cli.targets import is_folder
    from toonbox.convert.job import refuse_existing, write_file
    from toonbox.images.formats import can_be_film, cartoon_name
    from toonbox.video.frames import frame_at
    from toonbox.video.stylizer import composed, film_look

    film = films[0]
    if len(films) > 1 or not can_be_film(film):
        raise UsageError("--preview takes one video")
    seconds = parse_time(moment, "--preview") or 0.0
    name = cartoon_name(film.with_suffix(".png"))
    target = film.with_name(name) if output is None else Path(output)
    target = target / name if output is not None and is_folder(output) else target
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target}: a preview is a PNG picture")
    if not force:
        refuse_existing(target)
    with failing_alone(str(film)):
        photo, video = frame_at(
            film, seconds, max_height=filming["max_height"], max_pixels=filming["max_pixels"]
        )
        cartoon = composed(photo, style(photo, **film_look(style, look)), filming["compare"])
    image = Image.fromarray(cartoon)
    if video.aspect != 1:
        image = image.resize((video.square_width(*image.size), image.height))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    write_file(target, stream.getvalue())
    typer.echo(f"{film} -> {target}")


@contextmanager
def film_progress(film: Path) -> "Iterator[Callable[[Progress], None]]":
    """Show how far a film is: a bar, frames a second, speed and time left, on standard error."""
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
        task = bar.add_task(shown_name(film), total=None, rate="")
        rate = Rate(time.monotonic)

        def show(progress: "Progress") -> None:
            text = rate.text(progress)
            total = None if progress.drawn else progress.total  # None: who knows how long
            bar.update(task, completed=progress.seconds, total=total, rate=text)

        yield show


class Rate:
    """How fast a film is done."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._began = clock, clock()
        self._from: float | None = None

    def text(self, progress: "Progress") -> str:
        """Tell frames, frames a second, seconds of film a second, and the time left."""
        if progress.drawn:
            return f"{progress.frames} frames, writing"
        if self._from is None:  # the first frame waits for all that is loaded
            self._began, self._from = self._clock(), progress.seconds
            return f"{progress.frames} frames"
        passed = max(self._clock() - self._began, 1e-6)
        speed = (progress.seconds - self._from) / passed
        text = f"{progress.frames} frames, {(progress.new - 1) / passed:.1f} fps, {speed:.2f}x"
        if progress.total is None or speed <= 0:
            return text
        left = round(max(0.0, progress.total - progress.seconds) / speed)
        return f"{text}, {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
