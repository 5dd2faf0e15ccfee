"""A pool of workers whose processes would take seconds to start, without processes."""

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager


class Here(Executor):
    """Does the work at once, in this process."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@contextmanager
def pool_here(_: int) -> Iterator[Executor]:
    """Stand for `toonbox.learn.workers.worker_pool`."""
    yield Here()
