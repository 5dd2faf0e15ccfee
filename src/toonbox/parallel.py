"""Work done in other threads: in order and never too far ahead, or given up when it hangs."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from toonbox.errors import UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(items: Iterator[Item], count: int) -> Iterator[Item]:
    """Let a thread of its own make up to `count` items before they are asked for.

    An error of `items` is raised here when its turn has come.
    """
    waiting: deque[Future[list[Item]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="toonbox") as pool:
        try:
            waiting.extend(pool.submit(_next, items) for _ in range(count))
            while made := waiting.popleft().result():
                waiting.append(pool.submit(_next, items))
                yield made[0]
        finally:
            pool.shutdown(cancel_futures=True)
            if isinstance(items, Generator):
                items.close()  # here, not in whichever thread lets go of it


def _next(items: Iterator[Item]) -> list[Item]:
    return [item for _, item in zip((None,), items, strict=False)]


def ordered_parallel_map(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    jobs: int,
    stop: Callable[[], bool] = lambda: False,
    fit: Callable[[list[Item]], bool] = lambda _: True,
) -> Iterator[Result]:
    """Do many things, `jobs` at a time, and give the results in the order of the items.

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
        """Wait until no more than `most` are under way; give what is done besides."""
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


def in_time(work: Callable[[], Result], seconds: int) -> Result:
    """Do something in another thread, which is left behind if it takes too long.

    Raises:
        TimeoutError: it took longer. Time during which this process was stopped does not count.
        What the work raises.
    """
    done: SimpleQueue[Future[Result]] = SimpleQueue()

    def run() -> None:
        future: Future[Result] = Future()
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 (raised again by whoever waits)
            future.set_exception(error)
        done.put(future)

    threading.Thread(target=run, name="toonbox", daemon=True).start()
    for _ in range(seconds):
        try:
            return done.get(timeout=1).result()
        except Empty:
            continue
    raise TimeoutError


def count_jobs(items: Iterable[object], jobs: int | None) -> int:
    """Return how many things to do at a time: as many as wanted, or one for each core or thing.

    Raises:
        UsageError: less than one.
    """
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
