"""Many pictures, one after the other: while the network works, others are read and written."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar, Unpack

from toonbox.engine.session import available_processors
from toonbox.engine.stylize import Look, Style
from toonbox.errors import PictureError, ToonboxError, UsageError
from toonbox.media.animation import Animation
from toonbox.media.images import MAX_PIXELS, Picture
from toonbox.memory import Memory, Need
from toonbox.picture import (
    Saving,
    draw,
    is_there,
    need_of,
    read_photo,
    refuse_existing,
    stream_file,
    write_cartoon,
)
from toonbox.pixels import PhotoArray

Status = Literal["ok", "skipped", "failed"]
Item = TypeVar("Item")
Work = TypeVar("Work")
Result = TypeVar("Result")


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
        size: width and height in pixels, of a picture that was read.
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
    **look: Unpack[Look],
) -> Iterator[Outcome]:
    """Follow many pictures from disk to disk, and tell of each in the order of the tasks.

    The network works on one picture at a time, with all its threads, in the caller's thread.
    Meanwhile `jobs` other threads read and write; up to `jobs` pictures wait before the network
    and as many behind it, fewer if they are too much for the memory together.

    Args:
        tasks: taken as they are needed.
        style: what `load_style` returned.
        jobs: threads for reading and writing; None takes one for each core.
        max_pixels, max_memory, saving: as in `cartoonize_file`.
        stop: asked before each picture; once it says yes, what the network has done is still
            written and told, nothing else is begun.
        look: the options of `Style.__call__`.
    Raises:
        UsageError: an option that is as wrong for all other pictures.
    """
    told, memory = saving or {}, Memory(style, max_memory)
    return overlapped(
        (_planned(task, memory, told, look, max_pixels) for task in tasks),
        lambda work: _read(work, told, max_pixels),
        lambda work: _draw(work, memory.style, told, look, max_pixels),
        lambda work: _write(work, told),
        jobs,
        stop,
        lambda works: memory.fits([work.need for work in works]),
    )


def overlapped(
    items: Iterable[Item],
    read: Callable[[Item], Work],
    draw: Callable[[Work], None],
    write: Callable[[Work], Result],
    jobs: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    fit: Callable[[list[Item]], bool] = lambda _: True,
) -> Iterator[Result]:
    """Read, draw and write many things, and give the results in the order of the items.

    Args:
        items: taken as they are needed, in the caller's thread.
        read, write: run in `jobs` threads, while others are drawn.
        draw: runs in the caller's thread, for one thing at a time.
        jobs, stop: as in `cartoonize_files`.
        fit: tells whether so many items can be on their way; one always can.
    Raises:
        What a step raises, after the results of all items before that one.
        UsageError: less than one job.
    """
    jobs = available_processors() if jobs is None else jobs
    if jobs < 1:
        raise UsageError(f"jobs must be at least 1, got {jobs}")
    pending = iter(items)
    waiting: list[Item] = []  # taken, but too much for the time being
    under_way: deque[Item] = deque()
    reading: deque[Future[Work]] = deque()
    writing: deque[Future[Result]] = deque()

    def result() -> Result:
        under_way.popleft()
        return writing.popleft().result()

    with ThreadPoolExecutor(jobs, thread_name_prefix="toonbox") as pool:
        try:
            while True:
                while len(reading) < jobs and (waiting := waiting or list(islice(pending, 1))):
                    if under_way and not fit([*under_way, *waiting]):
                        break
                    under_way.append(waiting[0])
                    reading.append(pool.submit(read, waiting.pop()))
                while writing and (writing[0].done() or len(writing) >= jobs or not reading):
                    yield result()
                if not reading:
                    if waiting:
                        continue
                    break
                try:
                    work = reading.popleft().result()
                    if stop():
                        break
                    draw(work)
                except Exception:
                    while writing:
                        yield result()
                    raise
                writing.append(pool.submit(write, work))
                del work  # its pixels would stay until the next picture is read
            while writing:
                yield result()
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass
class _Work:
    """A picture on its way."""

    task: Task
    need: Need = field(default_factory=Need)
    size: tuple[int, int] | None = None
    status: Status = "ok"
    seconds: float = 0.0
    photo: Picture | Animation | None = None
    format: str = ""
    cartoon: PhotoArray | bytes | None = None
    error: ToonboxError | None = None

    @contextmanager
    def step(self) -> Iterator[None]:
        """Add up the time, and note a failure of this picture."""
        began = time.perf_counter()
        try:
            yield
        except UsageError:  # as wrong for all other pictures
            raise
        except ToonboxError as error:
            self.status, self.error = "failed", error
        except MemoryError:
            self.status, self.error = "failed", PictureError("needs more memory than there is")
        finally:
            self.seconds += time.perf_counter() - began


def _planned(task: Task, memory: Memory, saving: Saving, look: Look, max_pixels: int) -> _Work:
    work = _Work(task)
    with work.step():
        if task.if_there == "refuse":
            refuse_existing(task.target)
        if task.if_there == "skip" and is_there(task.target):
            work.status = "skipped"
        else:
            work.need = need_of(task.source, task.target, memory, saving, look, max_pixels)
    return work


def _read(planned: _Work, saving: Saving, max_pixels: int) -> _Work:
    work = replace(planned)  # what is planned is kept for longer than pixels should be
    if work.status == "ok" and not work.need.streamed:
        with work.step():
            source, target = work.task.source, work.task.target
            work.photo, work.format = read_photo(source, target, saving, max_pixels=max_pixels)
            work.size = work.photo.size
    return work


def _draw(work: _Work, style: Style, saving: Saving, look: Look, max_pixels: int) -> None:
    if work.status != "ok":
        return
    with work.step():
        if work.photo is not None:
            work.cartoon = draw(work.photo, work.format, style, saving, over=True, **look)
        else:
            source, target = work.task.source, work.task.target
            work.size = stream_file(
                source, target, style, max_pixels=max_pixels, saving=saving, **look
            )


def _write(work: _Work, saving: Saving) -> Outcome:
    task = work.task
    if work.photo is not None and work.cartoon is not None:
        with work.step():
            write_cartoon(task.target, work.photo, work.cartoon, work.format, saving)
    return Outcome(task.source, task.target, work.status, work.seconds, work.size, work.error)
