"""Threads and signals: several jobs at a time, each failing alone, until Ctrl-C or SIGTERM."""

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import TypeVar

from toonbox.atomic import remove_temporaries
from toonbox.errors import PictureError, ToonboxError, UnexpectedError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

_ENDING = (signal.SIGINT, signal.SIGTERM)


def prefetch(items: Iterator[Item], count: int) -> Iterator[Item]:
    """Compute up to `count` items ahead in a thread of their own; raise errors in their turn."""
    waiting: deque[Future[list[Item]]] = deque()

    def make_one() -> list[Item]:
        return list(islice(items, 1))

    with ThreadPoolExecutor(1, thread_name_prefix="toonbox") as pool:
        try:
            waiting.extend(pool.submit(make_one) for _ in range(count))
            while made := waiting.popleft().result():
                waiting.append(pool.submit(make_one))
                yield made[0]
        finally:
            pool.shutdown(cancel_futures=True)
            if isinstance(items, Generator):
                items.close()  # here, not in whichever thread lets go of it


def ordered_parallel_map(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    jobs: int,
    stop: Callable[[], bool] = lambda: False,
    fit: Callable[[list[Item]], bool] = lambda _: True,
) -> Iterator[Result]:
    """Apply `work` to many items, `jobs` at a time; yield the results in the order of the items.

    Args:
        items: taken as they are needed, in the caller's thread; `jobs` of them wait for their turn.
        work: run in other threads.
        jobs: threads.
        stop: asked before each; once it says yes, those begun are still finished and given.
        fit: tells whether so many items can be on their way; one always can.
    Raises:
        What work raises, after the results of all items before; what `items` raises, at once.
    """
    under_way: deque[tuple[Item, Future[Result | None]]] = deque()

    def work_unless_stopped(item: Item) -> Result | None:
        return None if stop() else work(item)

    def results(most: int) -> Iterator[Result]:
        """Wait until no more than `most` are under way; yield the finished results."""
        while under_way and (len(under_way) > most or under_way[0][1].done()):
            if (result := under_way.popleft()[1].result()) is not None:
                yield result

    with ThreadPoolExecutor(jobs, thread_name_prefix="toonbox") as pool:
        try:
            for item in items:
                while under_way and not fit([*(one for one, _ in under_way), item]):
                    yield from results(len(under_way) - 1)
                under_way.append((item, pool.submit(work_unless_stopped, item)))
                yield from results(2 * jobs - 1)
                if stop():
                    break
            yield from results(0)
        finally:
            pool.shutdown(cancel_futures=True)


def shared_map(
    items: Iterable[Item], work: Callable[[Item], Result], threads: int
) -> Iterator[Result]:
    """Apply `work` to parts of one picture: as `ordered_parallel_map`, or here with one thread.

    With one, nothing is taken ahead, as files want it that are read from top to bottom.
    """
    return map(work, items) if threads == 1 else ordered_parallel_map(items, work, threads)


def in_time(work: Callable[[], Result], seconds: int) -> Result:
    """Run `work` in another thread, which is abandoned if it takes too long, with a TimeoutError.

    Time during which this process was stopped does not count.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 (raised again by whoever waits)
            future.set_exception(error)

    threading.Thread(target=run, name="toonbox", daemon=True).start()
    for _ in range(seconds):
        if wait([future], timeout=1).done:
            return future.result()
    raise TimeoutError


def count_jobs(items: Iterable[object], jobs: int | None) -> int:
    """Return how many jobs to run at a time, by default one a core; UsageError if it is below 1."""
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs must be at least 1, got {jobs}")
    wanted = available_processors() if jobs is None else jobs
    return max(1, min(wanted, len(items))) if isinstance(items, Sized) else wanted


def available_processors() -> int:
    """Count the cores this process may use, two threads of one core once where Linux says so."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len({_siblings(processor) for processor in os.sched_getaffinity(0)})


def _siblings(processor: int) -> str:
    file = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
    return file.read_text() if file.exists() else str(processor)


@contextmanager
def failing_alone(name: str) -> Iterator[None]:
    """Turn whatever the block raises for one picture or video into an error that names it.

    Raises:
        ToonboxError: as the block raised it.
        PictureError: more memory is needed than there is.
        UnexpectedError: any other Exception.
    """
    try:
        yield
    except ToonboxError:
        raise
    except MemoryError as error:
        raise PictureError(f"{name}: needs more memory than is available") from error
    except Exception as error:  # libraries raise anything for damaged files
        reason = f": {error}" if str(error) else ""
        raise UnexpectedError(f"{name}: unexpected {type(error).__name__}{reason}") from error


class Stop:
    """Tells whether the process has been asked to end: `number` is the signal, 0 for none."""

    number = 0

    def __call__(self) -> bool:
        """Return whether it has."""
        return self.number != 0


def end_at_once_from_now() -> None:
    """Let both signals end the process at once, without its temporary files; exit code 143 or 130.

    The first process of a container would not even be ended by them otherwise.
    """
    for number in _ENDING:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _end_at_once)


@contextmanager
def interruptible(patient: bool = True) -> Iterator[Stop]:
    """Yield a `Stop`, which says whether the process should end, so that begun work can finish.

    At the end of the block `ending` is raised then; a second signal ends the process at once.
    If not `patient`, everything stays as it is.
    """
    stop = Stop()

    def ask(number: int, _: FrameType | None) -> None:
        stop.number = number
        for each in before:
            signal.signal(each, _end_at_once)

    ours = patient and threading.current_thread() is threading.main_thread()
    known = {number: signal.getsignal(number) for number in _ENDING} if ours else {}
    # What ignores Ctrl-C, such as a job in the background, goes on doing so.
    before = {n: handler for n, handler in known.items() if handler not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stop():
        raise ending(stop.number)


@contextmanager
def without_signals(*numbers: signal.Signals) -> Iterator[None]:
    """Start processes that ignore signals which terminals and service managers send to all."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # its start would let signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ending(number: int) -> BaseException:
    """Return the exception that ends a process after a signal: as Ctrl-C does, or with 143."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


def _end_at_once(number: int, _: FrameType | None) -> None:
    remove_temporaries()
    if sys.stderr is not None and sys.stderr.isatty():
        os.write(sys.stderr.fileno(), b"\x1b[?25h")  # a bar has hidden the cursor
    if number == signal.SIGINT:  # a shell ends its loop only if the signal has ended the command
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    os._exit(128 + number)
