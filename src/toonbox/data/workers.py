"""Worker processes: quiet, of one thread each, without a copy of the main process's memory."""

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from toonbox.errors import TrainingError


def quiet_worker(_: int = 0) -> None:
    """Leave Ctrl-C to the main process, and the other cores to the other workers."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


@contextmanager
def worker_pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Start up to `count` worker processes, at least one; what is queued at the end is dropped.

    Raises:
        TrainingError: a worker was killed.
    """
    # A fork of a process that has run torch's threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(max(1, count), context, initializer=quiet_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise TrainingError(
            "a worker process was killed, perhaps for want of memory: run the same command again, "
            "with fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
