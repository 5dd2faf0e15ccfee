"""What commands print: messages, failures, the outcome of each picture, progress."""

import json
import logging
import os
import sys
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from toonbox.errors import MissingExtraError, ToonboxError, UnexpectedError

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from toonbox.convert.job import Outcome
    from toonbox.video.pipeline import Progress

# Control and format characters, surrogates, line and paragraph separators.
_ESCAPED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
LONG = 2  # seconds that an animation takes before it gets a bar of its own

_logger = logging.getLogger("toonbox")


def printable(text: str) -> str:
    """Escape control characters, which a terminal would obey instead of showing them."""
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in _ESCAPED else c for c in text)


def _say(line: str, stream: TextIO | None) -> None:
    """Print a line at once, above any bars; None is standard output."""
    print(line, file=stream, flush=True)  # typer.echo would pass by the bars, and be glued to them


def complain(message: str) -> None:
    """Print a message, of one line or several, on standard error, after the command's name."""
    _say("toonbox: " + "\n".join(map(printable, message.split("\n"))), sys.stderr)


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn a missing optional package into a MissingExtraError that says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "toonbox").partition(".")[0]
        if missing == "toonbox":
            raise
        raise MissingExtraError(
            f"this needs {missing}, which is not installed: pip install 'toonbox[{extra}]'"
        ) from error


def show_tracebacks(wanted: bool) -> None:
    """Choose whether `message_of` prints tracebacks."""
    _logger.setLevel(logging.DEBUG if wanted else logging.NOTSET)


def message_of(error: ToonboxError | OSError) -> str:
    """Return an error's message; with --debug, print the traceback of an unexpected one."""
    if isinstance(error, UnexpectedError | OSError):
        _logger.debug("%s", error, exc_info=error)
    return str(error)


def drop_output() -> None:
    """Let go of standard output: Python would try once more, and complain, as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def output_fails() -> bool:
    """Return whether what is left of standard output cannot be written; then let go of it."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        drop_output()
        return True
    return False


@dataclass
class Outcomes(AbstractContextManager["Outcomes"]):
    """Prints outcomes as they come; as a context manager, lists failures and totals at the end.

    The end may be Ctrl-C or SIGTERM, but not an error.
    """

    as_json: bool = False
    stream: TextIO | None = None  # where to print outcomes, None for standard output
    several: bool = True  # print totals
    at_once: bool = False  # print failures as they come
    counts: Counter[str] = field(default_factory=Counter)
    failed: dict[Path, str] = field(default_factory=dict)  # messages

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, Exception):
            return
        for message in () if self.at_once else self.failed.values():
            complain(message)
        if self.several:
            skipped = f"{self.counts['skipped']} skipped, " if self.counts["skipped"] else ""
            _say(f"{self.counts['ok']} done, {skipped}{len(self.failed)} failed", sys.stderr)

    def report(self, outcome: "Outcome") -> None:
        """Print what was written, or everything as JSON."""
        self.counts[outcome.status] += 1
        if outcome.error is not None:  # which is not kept: its traceback holds the picture
            message = message_of(outcome.error)
            named = message.startswith(f"{outcome.source}: ")
            self.failed[outcome.source] = message if named else f"{outcome.source}: {message}"
            if self.at_once:
                complain(self.failed[outcome.source])
        if self.as_json:
            width, height = outcome.size or (None, None)
            record = {
                "input": str(outcome.source),
                "output": outcome.target and str(outcome.target),
                "status": outcome.status,
                "seconds": round(outcome.seconds, 3),
                "width": width,
                "height": height,
                "error": outcome.error and str(outcome.error),
            }
            _say(json.dumps(record), self.stream)
        elif outcome.status == "ok":
            _say(f"{outcome.source} -> {outcome.target}", self.stream)


class Steps(AbstractContextManager["Steps"]):
    """A bar for the steps of some work, and one for each animation that takes long.

    Bars are shown on standard error, if that is a terminal, and for steps if there are several.
    Call it after each step.
    """

    def __init__(self, description: str, total: int) -> None:
        self._lock, self._terminal = threading.Lock(), sys.stderr.isatty()
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}  # the work's by no name, animations by theirs
        self._began: dict[str, float] = {}
        if total > 1 and self._terminal:
            self._show("", description, 0, total)

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, name: str = "") -> None:
        """Count a step, and remove the bar of an animation of this name."""
        with self._lock:
            self._began.pop(name, None)
            if self._bars and name and name in self._tasks:
                self._bars.remove_task(self._tasks.pop(name))
            if self._bars and "" in self._tasks:
                self._bars.advance(self._tasks[""])

    def frame(self, name: str, done: int, total: int) -> None:
        """Show the progress of an animation; may be called from any thread."""
        with self._lock:
            now = time.monotonic()
            if self._terminal and now - self._began.setdefault(name, now) > LONG:
                self._show(name, shown_name(name), done, total)

    def _show(self, name: str, description: str, done: int, total: int) -> None:
        if self._bars is None:
            self._bars = progress_bars()
            self._bars.start()
        if name in self._tasks:
            self._bars.update(self._tasks[name], completed=done)
        else:
            self._tasks[name] = self._bars.add_task(description, total=total, completed=done)


@contextmanager
def video_progress(video: Path) -> "Iterator[Callable[[Progress], None]]":
    """Show a bar, frames a second, speed and time left on standard error, if it is a terminal."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    with progress_bars() as bars:
        task = bars.add_task(shown_name(video), total=None, start=False)

        def show(progress: "Progress") -> None:
            bars.start_task(task)  # with the first frame, when everything is loaded
            text = f"{progress.frames} frames"
            if progress.drawn:
                text += ", writing"
            elif passed := bars.tasks[0].elapsed:
                rate, speed = (progress.new - 1) / passed, bars.tasks[0].speed or 0
                text += f", {rate:.1f} fps, {speed:.2f}x"
            bars.update(task, total=progress.total, completed=progress.seconds, text=text)

        yield show


def shown_name(file: str | Path) -> str:
    """Return the name of a file for a bar, without markup."""
    from rich.markup import escape

    return escape(printable(Path(file).name))


def progress_bars() -> "Bars":
    """Make bars on standard error, with a task's field `text`, or its steps and their rate."""
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            rate = f", {task.speed:.2g}/s" if task.speed else ""
            return Text(task.fields.get("text", f"{task.completed}/{task.total}{rate}"))

    return Progress(
        *Progress.get_default_columns(),
        Rate(),
        console=Console(stderr=True),
        transient=True,
        # Lines for a file or a pipe must not go to the bars' console.
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
    )
