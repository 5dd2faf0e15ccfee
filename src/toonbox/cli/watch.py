"""`toonbox watch DIR -o DIR`: the pictures of a folder as they arrive."""

import errno
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toonbox.cli.convert import Plan
from toonbox.cli.options import CommonOptions, EngineName, takes
from toonbox.cli.terminal import Debug, Outcomes
from toonbox.options import EngineOptions, OutputOptions, StyleOptions, split_options
from toonbox.parallel import interruptible

if TYPE_CHECKING:
    from toonbox.convert.job import Job, Outcome

LATER = 30  # seconds after which a picture for which there was no space is tried again
Stamp = tuple[int, int]  # size in bytes, time of the last change in nanoseconds
_NO_FILE: Stamp = (-1, 0)  # of no file


@takes(CommonOptions, StyleOptions, OutputOptions, EngineOptions)
def watch(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Folder to watch, with all folders below it.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder for the cartoons.", file_okay=False
        ),
    ],
    interval: Annotated[
        float, typer.Option(min=0.01, metavar="SECONDS", help="Seconds between scans.")
    ] = 1.0,
    settle: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Time without changes after which a picture counts as complete.",
        ),
    ] = 2.0,
    engine: EngineName = "auto",
    debug: Debug = False,
    **given: Any,
) -> None:
    """Turn the pictures of a folder into cartoons as they arrive, until Ctrl-C.

    \b
    Example:
      toonbox watch incoming/ -o cartoons/

    Pictures that have no cartoon yet are converted first. A picture that failed is retried when it
    changes, and every half minute while the disk is full. Exit codes: 0 if all are done, 1 if some
    failed, 143 after SIGTERM.
    """
    import numpy as np

    from toonbox.convert.job import Converter, convert_all
    from toonbox.engine.style import load_style

    common, style_options, output_options, computing = split_options(
        given, CommonOptions, StyleOptions, OutputOptions, EngineOptions
    )
    loaded = load_style(
        common.style, engine=engine, threads=common.threads, precision=computing.precision
    )
    loaded.stylize(np.zeros((8, 8, 3), np.uint8), style_options)  # report what is wrong now
    converter = Converter(loaded, style_options, output_options)
    arrivals, outcomes = Arrivals(settle), Outcomes(common.json, at_once=True)
    typer.echo(f"watching {folder}, until Ctrl-C", err=True)
    with suppress(KeyboardInterrupt), outcomes, interruptible() as stop:
        while not stop():
            plan = Plan(str(output), False, common, output_options.format)
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
        raise typer.Exit(1)


class Arrivals:
    """Which pictures have come, and which of them are complete."""

    def __init__(self, settle: float) -> None:
        self.settle = settle
        self._since: dict[Path, tuple[Stamp, float]] = {}
        self._begun: dict[Path, Stamp] = {}

    def complete(self, plan: Plan, now: float) -> "list[Job]":
        """Return the pictures to do: those that have not changed for long enough.

        Each comes once, and again when it has changed since: it was not complete then, or was not
        a picture yet. What an earlier run has done is left as it is.

        Args:
            plan: what is in the folder now.
            now: seconds, of a clock that only goes forward.
        """
        from toonbox.convert.job import Job

        jobs = {job.source: job for job in plan.jobs}
        for outcome in plan.settled:
            if outcome.status == "skipped" and outcome.source in self._begun:
                jobs[outcome.source] = Job(outcome.source, outcome.target, "overwrite")
        stamps = {source: stamp for source in jobs if (stamp := _stamp(source))}
        known, begun = self._since, self._begun
        self._since, self._begun = {}, {}  # what is gone is forgotten
        complete = []
        for source, stamp in stamps.items():
            last, since = known.get(source, (None, now))
            since = since if last == stamp else now
            self._since[source] = stamp, since
            if now - since >= self.settle and begun.get(source) != stamp:
                self._begun[source] = stamp
                complete.append(jobs[source])
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
