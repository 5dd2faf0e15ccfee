"""Worker processes: spawned, single-threaded, and ended with the main process."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess

import cv2

from toonbox.errors import TrainingError
from toonbox.parallel import without_signals


class QuietProcess(SpawnProcess):
    """A process that ignores signals from its start; `quiet_worker` only runs after its imports."""

    def start(self) -> None:
        """Start the process; Ctrl-C and SIGTERM reach this one alone."""
        with without_signals(signal.SIGINT, signal.SIGTERM):
            super().start()


class QuietContext(SpawnContext):
    """Spawns processes, as forking after torch has started threads may deadlock."""

    Process = QuietProcess


def quiet_worker(_: int = 0) -> None:
    """Initialise a worker: ignore signals, exit with the main process, use one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    """Exit when the main process does; if it is killed, nothing else ends its workers."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


@contextmanager
def worker_pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of up to `count` worker processes, at least one; cancel its queue on exit.

    Raises TrainingError if a worker, or one of a `DataLoader` within the block, was killed.
    """
    pool = ProcessPoolExecutor(max(1, count), QuietContext(), initializer=quiet_worker)
    try:
        yield pool
    except RuntimeError as error:  # which BrokenProcessPool is, too
        of_loader = str(error).startswith("DataLoader worker")
        if not (of_loader or isinstance(error, BrokenProcessPool)):
            raise
        raise TrainingError(
            "a worker process was killed, perhaps because memory ran out: rerun the same command "
            "with fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
