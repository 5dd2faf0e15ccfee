"""What commands print: messages, failures, the outcome of each picture, progress."""

import logging
import os
import sys
import threading
import time
import traceback
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from toonbox.errors import MissingExtraError, ToonboxError, UnexpectedError
from toonbox.version import __version__

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from toonbox.convert.job import Outcome
    from toonbox.video.pipeline import Progress

# Control characters, invisible ones (some turn the direction of writing), halves, ends of lines.
_OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_MOST = 1 << 20  # bytes of the log, which then begins anew
LONG = 2  # seconds that an animation takes before it gets a bar of its own

_logger = logging.getLogger("toonbox")


def printable(text: str) -> str:
    """Escape control characters, which a terminal would obey instead of showing them."""
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in _OBEYED else c for c in text)


def complain(message: str) -> None:
    """Print a message, of one line or several, on standard error, after the command's name."""
    typer.echo("toonbox: " + "\n".join(map(printable, message.split("\n"))), err=True)


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn a missing package of an optional part into advice.

    Raises:
        MissingExtraError: says what to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "toonbox").partition(".")[0]
        if missing == "toonbox":
            raise
        raise MissingExtraError(
            f"this needs {missing}, which is not installed: pip install 'toonbox[{extra}]'"
        ) from error


def show_tracebacks(wanted: bool) -> bool:
    """Choose between standard error and the log, for all tracebacks from now on."""
    _logger.setLevel(logging.DEBUG if wanted else logging.NOTSET)
    return wanted


Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        callback=show_tracebacks,
        help="Show the traceback of an unexpected error, which goes into a log otherwise.",
    ),
]


def report(picture: Path, message: str) -> None:
    """Say on standard error which picture failed and why."""
    named = message.startswith(f"{picture}: ")
    complain(message if named else f"{picture}: {message}")


def message_of(error: ToonboxError) -> str:
    """Return an error's message; show or log the traceback of an unexpected one."""
    if not isinstance(error, UnexpectedError):
        return str(error)
    text = "".join(traceback.format_exception(error))
    if not _logger.isEnabledFor(logging.DEBUG):
        try:
            return f"{error}; traceback in {_log(text)}"
        except (OSError, RuntimeError):  # no place for it, or no home
            pass
    typer.echo(text, nl=False, err=True)
    return str(error)


def _log(text: str) -> Path:
    file = _folder() / "errors.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    mode = "a" if file.exists() and file.stat().st_size < _MOST else "w"
    with file.open(mode, encoding="utf-8", errors="backslashreplace") as log:
        log.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}, toonbox {__version__}\n{text}\n")
    return file


def _folder() -> Path:
    """Return the folder for logs that platformdirs would give."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        return Path(local, "toonbox", "Logs")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Logs" / "toonbox"
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state, "toonbox", "log")


class Outcomes:
    """The outcomes so far, printed to `stream` or standard output."""

    def __init__(self, as_json: bool, stream: TextIO | None = None) -> None:
        self.as_json, self.stream = as_json, stream
        self.counts: Counter[str] = Counter()
        self.failed: list[tuple[Path, str]] = []

    def report(self, outcome: "Outcome") -> None:
        """Print what was written, or everything as JSON; keep failures for the end."""
        self.counts[outcome.status] += 1
        if outcome.error is not None:
            # The message alone: the traceback holds all that was in memory for the picture.
            self.failed.append((outcome.source, message_of(outcome.error)))
        if self.as_json:
            import json

            typer.echo(json.dumps(_as_dict(outcome)), self.stream)
        elif outcome.status == "ok":
            typer.echo(f"{outcome.source} -> {outcome.target}", self.stream)

    def forget(self, sources: Collection[Path]) -> None:
        """Drop the failures of pictures that are tried again."""
        self.failed = [failure for failure in self.failed if failure[0] not in sources]

    def sum_up(self) -> None:
        """Print to standard error how many pictures were done, skipped and failed."""
        skipped = f"{self.counts['skipped']} skipped, " if self.counts["skipped"] else ""
        typer.echo(f"{self.counts['ok']} done, {skipped}{len(self.failed)} failed", err=True)


@contextmanager
def summed_up(outcomes: Outcomes, several: bool = True) -> Iterator[None]:
    """List the failures after the block, or a signal, and summarise several pictures."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        _conclude(outcomes, several)
        raise
    _conclude(outcomes, several)


def _conclude(outcomes: Outcomes, several: bool) -> None:
    for source, message in outcomes.failed:
        report(source, message)
    if several:
        outcomes.sum_up()


def _as_dict(outcome: "Outcome") -> dict[str, str | int | float | None]:
    width, height = outcome.size or (None, None)
    return {
        "input": str(outcome.source),
        "output": None if outcome.target is None else str(outcome.target),
        "status": outcome.status,
        "seconds": round(outcome.seconds, 3),
        "width": width,
        "height": height,
        "error": None if outcome.error is None else str(outcome.error),
    }


class Steps:
    """A bar for the steps of some work; call it after each.

    Animations among the pictures get a bar of their own if they take long.
    """

    def __init__(self, description: str, total: int, open_bars: ExitStack) -> None:
        """Show a bar if there is more than one step.

        Args:
            description: of the work.
            total: how many steps there are.
            open_bars: ends what is shown.
        """
        self._open_bars, self._turn = open_bars, threading.Lock()
        self._bars: Bars | None = None
        self._began: dict[str, float] = {}
        self._animations: dict[str, TaskID] = {}
        self._terminal = sys.stderr.isatty()
        self._whole = self._added(description, total) if total > 1 and self._terminal else None

    def __call__(self, name: str = "") -> None:
        """Count a step; take away the bar of an animation of this name."""
        with self._turn:
            self._began.pop(name, None)
            if self._bars and (ended := self._animations.pop(name, None)) is not None:
                self._bars.remove_task(ended)
            if self._whole is not None:
                self._count(self._whole)

    def frame(self, name: str, done: int, total: int) -> None:
        """Show how far an animation is; an `OnFrame`, for use by any thread."""
        if not self._terminal:
            return
        with self._turn:
            passed = time.monotonic() - self._began.setdefault(name, time.monotonic())
            shown = name in self._animations
            if not shown and passed > LONG:
                self._animations[name] = self._added(shown_name(name), total)
            if (bar := self._animations.get(name)) is not None:
                self._count(bar, done)
                if self._bars and not shown:
                    self._bars.refresh()

    def _added(self, description: str, total: int) -> "TaskID":
        if self._bars is None:
            from rich.progress import MofNCompleteColumn, Progress, TextColumn

            rate = TextColumn("{task.fields[rate]}", style="progress.data.speed")
            columns = (*Progress.get_default_columns(), MofNCompleteColumn(), rate)
            self._bars = self._open_bars.enter_context(_new_bars(*columns))
        return self._bars.add_task(description, total=total, rate="")

    def _count(self, bar: "TaskID", done: int | None = None) -> None:
        """Advance a bar by a step, or to so many."""
        assert self._bars is not None
        speed = next(each.speed for each in self._bars.tasks if each.id == bar)
        rate = f"{speed:.2g}/s" if speed else ""
        advance = 1 if done is None else None
        self._bars.update(bar, completed=done, advance=advance, rate=rate)


def shown_name(file: str | Path) -> str:
    """Name a file for a bar, where brackets could be markup."""
    from rich.markup import escape

    return escape(printable(Path(file).name))


@contextmanager
def progress(description: str, total: int) -> Iterator[Steps]:
    """Show a bar, rate and time left on standard error for more than one step."""
    with ExitStack() as open_bars:
        yield Steps(description, total, open_bars)


@contextmanager
def video_progress(video: Path) -> "Iterator[Callable[[Progress], None]]":
    """Show a bar, frames a second, speed and time left on standard error, if it is a terminal."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich.progress import BarColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"))
    with _new_bars(*columns) as bar:
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


def _new_bars(*columns: Any) -> "Bars":
    """Make bars on standard error."""
    from rich.console import Console
    from rich.progress import Progress

    # Where standard output is a file or a pipe its lines must not go to the bars' console.
    redirected = sys.stdout.isatty()
    return Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=redirected
    )
