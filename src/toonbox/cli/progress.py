"""Progress on standard error, if that is a terminal."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from toonbox.cli.messages import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LONG = 2  # seconds that an animation takes before it gets a bar of its own


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
        self._bars: Progress | None = None
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
            from rich.console import Console
            from rich.progress import MofNCompleteColumn, Progress, TextColumn

            rate = TextColumn("{task.fields[rate]}", style="progress.data.speed")
            columns = (*Progress.get_default_columns(), MofNCompleteColumn(), rate)
            # Where standard output is a file or a pipe its lines must not go to the bar's console.
            bars = Progress(
                *columns,
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            self._bars = self._open_bars.enter_context(bars)
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
