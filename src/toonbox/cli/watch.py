"""`toonbox watch DIR -o DIR`: the pictures of a folder as they arrive."""

import errno
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from typer import Argument, Exit, Option, echo

from toonbox.cli.convert import Plan
from toonbox.cli.options import DEBUG, ENGINE, FOLDER, CommonOptions
from toonbox.cli.terminal import Outcomes
from toonbox.options import Engine, EngineOptions, OutputOptions, StyleOptions
from toonbox.parallel import interruptible

if TYPE_CHECKING:
    from toonbox.convert.job import Job, Outcome

LATER = 30  # seconds after which a picture for which there was no space is tried again
Stamp = tuple[int, int]  # size in bytes, time of the last change in nanoseconds
_NO_FILE: Stamp = (-1, 0)  # of no file


def watch(
    common: CommonOptions,
    drawing: StyleOptions,
    writing: OutputOptions,
    computing: EngineOptions,
    folder: Path = Argument(
        ..., help="Folder to watch, with all folders below it.", show_default=False, **FOLDER
    ),
    output: Path = Option(
        ..., "--output", "-o", metavar="DIR", help="Folder for the cartoons.", file_okay=False
    ),
    interval: float = Option(1.0, min=0.01, metavar="SECONDS", help="Seconds between scans."),
    settle: float = Option(
        2.0,
        min=0,
        metavar="SECONDS",
        help="Time without changes after which a picture counts as complete.",
    ),
    engine: Engine = ENGINE,
    debug: bool = DEBUG,
) -> None:
    """Turn the pictures of a folder into cartoons as they arrive, until Ctrl-C.

    \b
    Example:
      toonbox watch incoming/ -o cartoons/

    Pictures that have no cartoon yet are converted first. A picture that failed is retried when it
    changes, and every half minute while the disk is full. Exit codes: 0 if all are done, 1 if some
    failed, 143 after SIGTERM.
    """
    from toonbox.convert.job import Converter, convert_all
    from toonbox.engine.style import load_style

    loaded = load_style(
        common.style, engine=engine, threads=common.threads, precision=computing.precision
    )
    loaded.check(drawing)
    converter = Converter(loaded, drawing, writing)
    arrivals, outcomes = Arrivals(settle), Outcomes(common.json, at_once=True)
    echo(f"watching {folder}, until Ctrl-C", err=True)
    with suppress(KeyboardInterrupt), outcomes, interruptible() as stop:
        while not stop():
            plan = Plan(str(output), False, common, writing.format)
            plan.add_folder(folder)
            for outcome in plan.settled:  # an unreadable folder, once
                if outcome.status == "failed" and outcome.source not in outcomes.failed:
                    outcomes.report(outcome)
            jobs_now = arrivals.complete(plan, time.monotonic())
            for job in jobs_now:
                outcomes.failed.pop(job.source, None)
            for outcome in convert_all(jobs_now, converter, parallel=common.jobs, stop=stop):
                outcomes.report(outcome)
                if _is_disk_full(outcome):
                    arrivals.postpone(outcome.source, time.monotonic() + LATER)
            _pause(interval, stop)
    if outcomes.failed:
        raise Exit(1)


class Arrivals:
    """Which pictures have come, and which of them are complete."""

    def __init__(self, settle: float) -> None:
        self.settle = settle
        self._since: dict[Path, tuple[Stamp, float]] = {}
        self._begun: dict[Path, Stamp] = {}

    def complete(self, plan: Plan, now: float) -> "list[Job]":
        """Return the pictures to do: those that have not changed for long enough.

        Each comes once, and again when it has changed since: it was not complete then, or was not
        a picture yet. What an earlier run has done is left as it is. `now` is in seconds, of a
        clock that only goes forward.
        """
        from toonbox.convert.job import Job

        jobs = {job.source: job for job in plan.jobs}
        for outcome in plan.settled:
            if outcome.status == "skipped" and outcome.source in self._begun:
                jobs[outcome.source] = Job(outcome.source, outcome.target, "overwrite")
        known, begun = self._since, self._begun
        self._since, self._begun = {}, {}  # what is gone is forgotten
        complete = []
        for source, job in jobs.items():
            if (stamp := _stamp(source)) is None:
                continue
            last, since = known.get(source, (None, now))
            self._since[source] = stamp, since if last == stamp else now
            if now - self._since[source][1] >= self.settle and begun.get(source) != stamp:
                self._begun[source] = stamp
                complete.append(job)
            elif source in begun:
                self._begun[source] = begun[source]
        return complete

    def postpone(self, source: Path, until: float) -> None:
        """Offer a picture again, as if it had changed at that time."""
        if source in self._begun:
            self._since[source] = self._begun[source], until
            self._begun[source] = _NO_FILE


def _pause(seconds: float, stop: Callable[[], bool]) -> None:
    """Sleep in short intervals: a signal whose handler returns does not end a sleep."""
    until = time.monotonic() + seconds
    while not stop() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))


def _is_disk_full(outcome: "Outcome") -> bool:
    cause = outcome.error and outcome.error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def _stamp(picture: Path) -> Stamp | None:
    try:
        status = picture.stat()
    except OSError:  # gone in the meantime
        return None
    return status.st_size, status.st_mtime_ns
