"""Work done ahead in other threads, in order and never too far ahead."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(items: Iterator[T], count: int) -> Iterator[T]:
    """Let a thread of its own make up to `count` items before they are asked for.

    An error of `items` is raised here when its turn has come.
    """
    waiting: deque[Future[list[T]]] = deque()
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


def _next(items: Iterator[T]) -> list[T]:
    return [item for _, item in zip((None,), items, strict=False)]


def in_threads(function: Callable[[T], R], items: Iterator[T], threads: int) -> Iterator[R]:
    """Give function(item) for each item in order, with `threads` of them made at a time."""
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="toonbox") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
