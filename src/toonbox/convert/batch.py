"""Many pictures at a time."""

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar, Unpack

from toonbox.convert.job import (
    OnFrame,
    Saving,
    follow,
    is_there,
    need_of,
    refuse_existing,
    unwatched,
)
from toonbox.convert.memory import Memory, Need
from toonbox.engine.session import available_processors
from toonbox.engine.stylize import Look, Style
from toonbox.errors import ToonboxError, UsageError, failing_alone
from toonbox.images.picture import MAX_PIXELS
from toonbox.parallel import at_a_time

Done = TypeVar("Done")
Status = Literal["ok", "skipped", "failed"]


@dataclass(frozen=True)
class Task:
    """A picture, the file for its cartoon, and what to do if that file is there already."""

    source: Path
    target: Path
    if_there: Literal["refuse", "skip", "overwrite"] = "refuse"


@dataclass(frozen=True)
class Outcome:
    """What became of a picture.

    Attributes:
        source: the picture, or a folder that could not be read.
        target: the file for the cartoon, if it got as far as having one.
        status: skipped is one whose target was there.
        seconds: of work, without waiting for its turn.
        size: width and height in pixels, of a picture that was done.
        error: why it failed.
    """

    source: Path
    target: Path | None
    status: Status
    seconds: float = 0.0
    size: tuple[int, int] | None = None
    error: ToonboxError | None = None


def cartoonize_files(
    tasks: Iterable[Task],
    style: Style,
    *,
    jobs: int | None = None,
    max_pixels: int = MAX_PIXELS,
    max_memory: int | None = None,
    saving: Saving | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_frame: OnFrame = unwatched,
    **look: Unpack[Look],
) -> Iterator[Outcome]:
    """Follow many pictures from disk to disk, and tell of each in the order of the tasks.

    Args:
        tasks: taken as they are needed.
        style: what `load_style` returned.
        jobs: pictures at a time, fewer if they are too much for the memory together; None takes
            one for each core.
        max_pixels, max_memory, saving: as in `cartoonize_file`.
        stop: asked before each picture; once it says yes, those begun are still finished and told.
        on_frame: see `OnFrame`; called in other threads.
        look: the options of `Style.__call__`.
    Raises:
        UsageError: an option that is as wrong for all other pictures.
    """
    told, memory, jobs = saving or {}, Memory(style, max_memory), jobs_for(tasks, jobs)
    style = memory.style.shared(jobs)

    def plan(task: Task) -> _Planned:
        """Look at the header, so that it is known how many pictures fit."""

        def look_at() -> Need | Outcome:
            if task.if_there == "refuse":
                refuse_existing(task.target)
            if task.if_there == "skip" and is_there(task.target):
                return Outcome(task.source, task.target, "skipped")
            return need_of(task.source, task.target, memory, told, look, max_pixels)

        need = done_or_failed(task, look_at)
        return _Planned(task, settled=need) if isinstance(need, Outcome) else _Planned(task, need)

    def work(planned: _Planned) -> Outcome:
        task, began, streamed = planned.task, time.perf_counter(), planned.need.streamed

        def draw() -> Outcome:
            how = (style, streamed, max_pixels, told, on_frame)
            size = follow(task.source, task.target, *how, **look)
            return Outcome(task.source, task.target, "ok", time.perf_counter() - began, size)

        return done_or_failed(task, draw) if planned.settled is None else planned.settled

    return at_a_time(
        map(plan, tasks),
        work,
        jobs,
        stop,
        lambda planned: memory.fits([each.need for each in planned], jobs),
    )


def done_or_failed(task: Task, work: Callable[[], Done]) -> Done | Outcome:
    """Do something for one picture; whatever is raised for it becomes its failure.

    Raises:
        UsageError: an option that is as wrong for all other pictures.
    """
    began = time.perf_counter()
    try:
        with failing_alone(str(task.source)):
            return work()
    except UsageError:
        raise
    except ToonboxError as error:
        seconds = time.perf_counter() - began
        return Outcome(task.source, task.target, "failed", seconds, error=error)


def jobs_for(items: Iterable[object], jobs: int | None) -> int:
    """Say how many things to do at a time: as many as wanted, or as there are cores, or things.

    Raises:
        UsageError: less than one.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs must be at least 1, got {jobs}")
    wanted = available_processors() if jobs is None else jobs
    return max(1, min(wanted, len(items))) if isinstance(items, Sized) else wanted


@dataclass(frozen=True)
class _Planned:
    """A picture, what it takes, and what became of it if nothing is to be done."""

    task: Task
    need: Need = field(default_factory=Need)
    settled: Outcome | None = None
