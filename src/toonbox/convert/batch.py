"""Many pictures, several at a time."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from toonbox.atomic import exists, refuse_existing
from toonbox.convert.job import Converter, Job, OnFrame, ignore_frames
from toonbox.convert.memory import Need
from toonbox.errors import ToonboxError, UsageError
from toonbox.parallel import count_jobs, failing_alone, ordered_parallel_map

Done = TypeVar("Done")


@dataclass(frozen=True)
class Outcome:
    """What became of a picture.

    Attributes:
        source: the picture, or a folder that could not be read.
        target: the file for the cartoon, if it got as far as having one.
        status: skipped if the target existed.
        seconds: of work, without waiting for its turn.
        size: width and height in pixels, of a picture that was converted.
        error: why it failed.
    """

    source: Path
    target: Path | None
    status: Literal["ok", "skipped", "failed"]
    seconds: float = 0.0
    size: tuple[int, int] | None = None
    error: ToonboxError | None = None


def convert_all(
    jobs: Iterable[Job],
    converter: Converter,
    *,
    parallel: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_frame: OnFrame = ignore_frames,
) -> Iterator[Outcome]:
    """Convert many pictures from file to file, and report each in the order of the jobs.

    Args:
        jobs: taken as they are needed.
        converter: the style, and how to draw and write.
        parallel: pictures at a time, fewer if they take too much memory together; None for one on
            each core.
        stop: asked before each picture; once it returns True, those begun are still finished.
        on_frame: see `OnFrame`; called in other threads.
    Raises:
        UsageError: an option that is as wrong for all other pictures.
    """
    parallel = count_jobs(jobs, parallel)
    memory, converter = converter.memory, converter.shared(parallel)

    def plan(job: Job) -> _Planned:
        """Read the header, so that it is known how many pictures fit."""

        def estimate() -> Need | Outcome:
            if job.target is not None and job.on_existing == "refuse":
                refuse_existing(job.target)
            if job.target is not None and job.on_existing == "skip" and exists(job.target):
                return Outcome(job.source, job.target, "skipped")
            return converter.estimate(job)

        need = done_or_failed(job, estimate)
        return _Planned(job, settled=need) if isinstance(need, Outcome) else _Planned(job, need)

    def work(planned: _Planned) -> Outcome:
        job, began = planned.job, time.perf_counter()

        def convert() -> Outcome:
            size = converter.convert(job, planned.need, on_frame).size
            return Outcome(job.source, job.target, "ok", time.perf_counter() - began, size)

        return done_or_failed(job, convert) if planned.settled is None else planned.settled

    return ordered_parallel_map(
        map(plan, jobs),
        work,
        parallel,
        stop,
        lambda planned: memory.fits([each.need for each in planned], parallel),
    )


def done_or_failed(job: Job, work: Callable[[], Done]) -> Done | Outcome:
    """Do something for one picture; whatever is raised for it becomes its failure.

    Raises:
        UsageError: an option that is as wrong for all other pictures.
    """
    began = time.perf_counter()
    try:
        with failing_alone(job.shown):
            return work()
    except UsageError:
        raise
    except ToonboxError as error:
        seconds = time.perf_counter() - began
        return Outcome(job.source, job.target, "failed", seconds, error=error)


@dataclass(frozen=True)
class _Planned:
    """A job, the memory it takes, and its outcome if nothing is to be done."""

    job: Job
    need: Need = field(default_factory=Need)
    settled: Outcome | None = None
