"""Jobs: videos and batches, each in a process of its own, with a folder of its own."""

import asyncio
import logging
import os
import re
import secrets
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastapi import HTTPException

from toonbox.atomic import writing
from toonbox.convert.job import Converted, Converter, Job, Need, Outcome, convert_all
from toonbox.engine.style import Style, load_style
from toonbox.errors import OutputError, ToonboxError, UsageError
from toonbox.images.formats import becomes_video, cartoon_name, container_of, is_video
from toonbox.options import FOR_VIDEOS_TOO, Options, OutputOptions, StyleOptions, changed
from toonbox.serve.metrics import Metrics
from toonbox.serve.pictures import Budget
from toonbox.serve.problems import busy
from toonbox.serve.settings import ServerOptions

if TYPE_CHECKING:
    from toonbox.video.pipeline import Progress

# `toonbox.video` is imported with the first job: FFmpeg's libraries take 16 MB.

State = Literal["receiving", "waiting", "running", "done", "failed", "cancelled"]
Progressed = Callable[[Any], None]
Stop = Callable[[], bool]

ENDED: tuple[State, ...] = ("done", "failed", "cancelled")
_FULL = "the jobs have no more disk space for results (--max-disk)"
_GRACE = 5.0  # seconds for a process to end by itself once it is told to

_logger = logging.getLogger(__name__)


@dataclass(eq=False)
class ServedJob:
    """One job.

    Attributes:
        id: long and random, since knowing it is enough to read the result.
        folder: with all that it has on disk.
        style: folder of the style.
        options: how to draw, write and encode.
        files: where they are; their names are those that the client gave them.
        size: bytes on disk, without what it is writing.
        readers: how many clients download its result.
        state: receiving, waiting, running; then done, failed or cancelled.
        progress: share of the work that is done, and counts of pictures or frames.
        failures: names of pictures that failed, and why.
        result: the file, if it is done.
        message: why it failed.
        stopped: set to end it.
        changed: set, and replaced, whenever something has changed.
    """

    folder: Path
    style: Path
    options: Options
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    files: list[Path] = field(default_factory=list)
    size: int = 0
    readers: int = 0
    state: State = "receiving"
    progress: dict[str, float | int | None] = field(default_factory=lambda: {"share": 0.0})
    failures: list[dict[str, str]] = field(default_factory=list)
    result: Path | None = None
    message: str | None = None
    ended: float | None = None
    future: "Future[None] | None" = None
    stopped: threading.Event = field(default_factory=threading.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, name: str) -> Path:
        """Add a file by the name that a client gave it; return where it should be."""
        number = len(self.files) + 1
        place = self.folder / f"in{number}" / (name or f"picture{number}")
        place.parent.mkdir()
        self.files.append(place)
        return place

    @property
    def is_video(self) -> bool:
        """Return whether a video is made: also of a GIF, if an option asks for it."""
        if len(self.files) != 1:
            return False
        source, (_, output, video) = self.files[0], self.options
        asked = becomes_video(source) and bool(changed(video))
        return asked or becomes_video(source, Path(cartoon_name(source, output.format)))

    def check(self) -> None:
        """Raise UsageError for files that do not go together with each other or the options."""
        targets, (_, output, video) = self.targets(), self.options
        if self.is_video:
            if ignored := {*changed(output)} - FOR_VIDEOS_TOO:
                raise UsageError(f"{min(ignored)} is for pictures, not for videos")
            container_of(targets[0])
        elif any(map(is_video, self.files)):
            raise UsageError("a job has one video, or pictures")
        elif unused := changed(video):
            raise UsageError(f"{unused[0]} is for videos, and there are none")

    def targets(self) -> list[Path]:
        """Return where the cartoons should be; two of one name do not meet."""
        if not self.files:
            raise UsageError("the form has no files")
        names: dict[str, str] = {}  # by what they are on disks that ignore case
        for number, file in enumerate(self.files, 1):
            name = cartoon_name(file, self.options[1].format)
            while name.casefold() in names:
                name = f"{number}-{name}"
            names[name.casefold()] = name
        return [self.folder / "out" / name for name in names.values()]

    def written(self) -> int:
        """Count the bytes of its results, and of what is half done."""
        size = 0
        for place in ("out", "zip"):
            for folder, _, names in os.walk(self.folder / place):
                for name in names:
                    with suppress(OSError):  # it may have just been renamed
                        size += Path(folder, name).stat().st_size
        return size

    def free(self, result: Path | None) -> None:
        """Delete everything but the result, also what a crash has left half done."""
        for folder in self.folder.iterdir():
            if result is None or folder != result.parent:
                shutil.rmtree(folder, ignore_errors=True)

    def without_folder(self, message: object) -> str:
        """Return a message without the names of folders that clients do not know."""
        return re.sub(rf"{re.escape(str(self.folder))}[\\/]((in\d+|out)[\\/])?", "", str(message))

    def change(self, **values: Any) -> None:
        """Set attributes, and wake those who wait for `changed`; in the event loop only."""
        for name, value in values.items():
            setattr(self, name, value)
        event, self.changed = self.changed, asyncio.Event()
        event.set()

    def described(self, keep: float) -> dict[str, Any]:
        """Return the description for clients; results are kept for so many seconds."""
        url = f"/api/jobs/{self.id}"
        expires = None if self.ended is None else max(0.0, self.ended + keep - time.monotonic())
        return {
            "id": self.id,
            "state": self.state,
            "url": url,
            "kind": "video" if self.is_video else "pictures",
            "progress": self.progress,
            "failures": self.failures,
            "message": self.message,
            "result": f"{url}/result" if self.result else None,
            "name": self.result.name if self.result else None,
            "bytes": self.result.stat().st_size if self.result and self.result.exists() else None,
            "expires": expires,
        }


class Jobs:
    """All jobs; one runs at a time."""

    def __init__(
        self, folder: Path, options: ServerOptions, budget: Budget, metrics: Metrics
    ) -> None:
        self.folder, self.options, self.budget, self.metrics = folder, options, budget, metrics
        self._jobs: dict[str, ServedJob] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="toonbox-job")
        self._loop = asyncio.get_running_loop()
        self._disk = self._written = 0  # bytes; the latter by the job that runs
        self._expiring: set[asyncio.Task[None]] = set()

    def find(self, id: str) -> ServedJob:
        """Return a job.

        Raises:
            HTTPException: there is none, any more.
        """
        job = self._jobs.get(id)
        if job is None or job.state == "receiving":
            raise HTTPException(404, "there is no such job, or it has been deleted")
        return job

    def open(self, style: Path, options: Options) -> ServedJob:
        """Make a job that receives files.

        Raises:
            HTTPException: too many are there that have not ended.
        """
        if sum(job.state not in ENDED for job in self._jobs.values()) >= self.options.max_jobs:
            raise busy("too many jobs are waiting", 30)
        job = ServedJob(self.folder / secrets.token_hex(8), style, options)
        job.folder.mkdir(mode=0o700)
        self._jobs[job.id] = job
        return job

    def count(self, job: ServedJob, size: int) -> None:
        """Count bytes that a job is about to have on disk.

        Raises:
            HTTPException: all together have too many.
        """
        if size > self._left:
            raise HTTPException(507, "the jobs have no more space for uploads")
        self._disk, job.size = self._disk + size, job.size + size

    @property
    def _left(self) -> int:
        """Return how many bytes more all jobs together may have on disk."""
        return self.options.max_disk - self._disk - self._written

    @contextmanager
    def reading(self, job: ServedJob) -> Iterator[None]:
        """Count a job's bytes until the block ends, though it may be deleted meanwhile."""
        job.readers += 1
        try:
            yield
        finally:
            job.readers -= 1
            self._release(job)

    def _release(self, job: ServedJob) -> None:
        if job.id not in self._jobs and not job.readers:
            self._disk -= job.size
            job.size = 0

    def start(self, job: ServedJob) -> None:
        """Put a job into the queue."""
        job.change(state="waiting")
        job.future = self._pool.submit(self._run, job)

    async def delete(self, job: ServedJob) -> None:
        """End it if it has not ended, and delete it with its files."""
        job.stopped.set()
        if job.future is not None and job.future.cancel():
            self._end(job, "cancelled")
        while job.state in ("waiting", "running"):
            await job.changed.wait()
        self._jobs.pop(job.id, None)
        self._release(job)
        await asyncio.to_thread(shutil.rmtree, job.folder, ignore_errors=True)

    async def close(self) -> None:
        """End all of them, together: while one ends, none of those that wait may begin."""
        await asyncio.gather(*map(self.delete, self._jobs.values()))
        await asyncio.to_thread(self._pool.shutdown)

    def _run(self, job: ServedJob) -> None:
        """Run a job, in the thread for jobs."""
        deadline, late, full = float("inf"), False, False

        def stop() -> bool:
            nonlocal late, full
            late = late or time.monotonic() > deadline
            self._written = job.written()
            full = full or self._left < 0
            return late or full or job.stopped.is_set()

        def advance(reached: Any) -> None:
            soon(_advance, job, reached)

        soon = self._loop.call_soon_threadsafe
        state: State = "cancelled"
        values: dict[str, Any] = {}
        try:
            with self.budget.drawing(Need(self.budget.job_limit), stop, lasts=True) as worth_it:
                if worth_it:
                    deadline = time.monotonic() + self.options.job_deadline
                    soon(partial(job.change, state="running"))
                    values = {"result": self._convert(job, stop, advance)}
                    state = "done"
                    self._written = job.written()
                    full = full or self._left < 0
        except ToonboxError as error:
            state, values = "failed", {"message": job.without_folder(error)}
        except Exception as error:  # any error is a failure of the job alone
            _logger.error("a job failed: %s", error, exc_info=True)
            state, values = "failed", {"message": f"unexpected {type(error).__name__}: {error}"}
        if job.stopped.is_set():
            state, values = "cancelled", {}
        elif full:
            state, values = "failed", {"message": _FULL}
        elif late:
            seconds = self.options.job_deadline
            state, values = "failed", {"message": f"took longer than {seconds:g} seconds"}
        with suppress(OSError):
            job.free(values.get("result"))
        soon(partial(self._end, job, state, **values))

    def _convert(self, job: ServedJob, stop: Stop, progress: Progressed) -> Path:
        """Convert in another process; return the result."""
        from toonbox.video.isolated import run_isolated
        from toonbox.video.pipeline import convert_video
        from toonbox.video.steadying import default_stabilization

        style, output, video = job.options
        targets = job.targets()
        targets[0].parent.mkdir()
        load = partial(load_style, job.style, precision=self.options.precision)
        if job.is_video:
            steady = video.stabilize or default_stabilization(video.bits)
            options = style, output, replace(video, stabilize=steady)
            run_isolated(
                str(job.files[0]), convert_video, job.files[0], targets[0], load, options,
                progress=progress, stop=stop, patience=_GRACE,
            )  # fmt: skip
            return targets[0]
        limit = min(output.max_memory or self.budget.job_limit, self.budget.job_limit)
        output = replace(output, max_memory=limit)
        jobs = [Job(*pair, name=pair[0].name) for pair in zip(job.files, targets, strict=True)]
        single = len(jobs) == 1
        result = targets[0] if single else job.folder / "zip" / "cartoons.zip"
        failures = run_isolated(
            jobs[0].shown if single else f"{len(jobs)} pictures",
            _convert_pictures, jobs, load, (style, output), result, self._left,
            progress=progress, stop=stop, patience=_GRACE,
        )  # fmt: skip
        if len(failures) == len(jobs):
            raise ToonboxError(failures[0])
        return result

    def _end(self, job: ServedJob, state: State, **values: Any) -> None:
        result = values.get("result")
        size = result.stat().st_size if result and result.exists() else 0
        self._disk, job.size, self._written = self._disk + size - job.size, size, 0
        self.metrics.jobs.labels(state).inc()
        self._loop.call_later(self.options.keep, self._expire, job)
        job.change(state=state, ended=time.monotonic(), **values)

    def _expire(self, job: ServedJob) -> None:
        if job.id in self._jobs:
            task = self._loop.create_task(self.delete(job))
            self._expiring.add(task)
            task.add_done_callback(self._expiring.discard)


def _advance(job: ServedJob, reached: "Outcome | Progress") -> None:
    """Note how far a job has come: one picture further, or so far in a video."""
    counts: dict[str, float | int | None]
    if isinstance(reached, Outcome):
        done, total = (job.progress.get("done") or 0) + 1, len(job.files)
        counts = {"share": done / total, "done": done, "total": total}
        if reached.error:
            message = job.without_folder(reached.error)
            job.failures.append({"name": reached.source.name, "message": message})
    else:
        share = min(1.0, reached.seconds / reached.total) if reached.total else None
        counts = {"share": share, "frames": reached.frames}
        counts |= {"seconds": reached.seconds, "total": reached.total}
    job.change(progress=counts)


class FullError(OutputError):
    """A picture that has no room beside the other results and uploads."""


class _Space:
    """The bytes that a job may write; safe to share between threads."""

    def __init__(self, left: int) -> None:
        self._left, self._lock = left, threading.Lock()

    def take(self, name: str, size: int) -> None:
        """Count bytes that are about to be written; raise FullError if they are too many."""
        with self._lock:
            if size > self._left:
                raise FullError(f"{name}: {_FULL}: {size:,} bytes are needed, {self._left:,} left")
            self._left -= size


class _Sparing(Converter):
    """Writes no picture that has no room. Those that are streamed are not known before."""

    def __init__(self, style: Style, options: StyleOptions, output: OutputOptions, space: _Space):
        super().__init__(style, options, output)
        self._space = space

    def render(self, job: Job, animated: bool = True) -> Converted:
        """Render as any converter, and count the bytes."""
        converted = super().render(job, animated)
        self._space.take(job.shown, len(converted.data))
        return converted


def _convert_pictures(
    jobs: list[Job],
    load: Callable[[], Style],
    options: tuple[StyleOptions, OutputOptions],
    result: Path,
    left: int,
    *,
    progress: Progressed,
    stop: Stop,
) -> list[str]:
    """Convert pictures, in the other process, and pack them if they are several.

    Returns:
        Why some failed.
    Raises:
        FullError: they have more bytes than are `left`.
    """
    failures: list[str] = []
    done: list[Path] = []
    space = _Space(left)
    for outcome in convert_all(jobs, _Sparing(load(), *options, space), stop=stop):
        if outcome.error is not None:
            failures.append(str(outcome.error))
        elif outcome.target is not None:
            done.append(outcome.target)
        progress(outcome)
        if isinstance(outcome.error, FullError):
            raise outcome.error
    if len(jobs) > 1 and done and not stop():
        # While one is packed it is there twice.
        space.take(result.name, max(target.stat().st_size for target in done))
        with writing(result) as temporary, zipfile.ZipFile(temporary, "w") as packed:
            for target in done:
                packed.write(target, target.name)
                target.unlink()
    return failures
