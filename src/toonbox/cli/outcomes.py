"""The outcome of each picture: lines or JSON as they come, failures and a summary at the end."""

import json
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer

from toonbox.cli.failures import message_of, report

if TYPE_CHECKING:
    from toonbox.convert.job import Outcome


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
