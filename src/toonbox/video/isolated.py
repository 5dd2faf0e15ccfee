"""Run work in a process of its own, so that a crash there ends nothing else."""

import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]
from types import SimpleNamespace
from typing import Any, TypeVar

from toonbox.errors import ToonboxError, VideoError
from toonbox.parallel import failing_alone, without_signals

_LOOK_UP = 0.1  # seconds between two questions whether to stop

Result = TypeVar("Result")
Stop = Callable[[], bool]


def run_isolated(
    name: str,
    work: Callable[..., Result],
    *arguments: Any,
    progress: Callable[[Any], None],
    stop: Stop,
    patience: float | None = None,
) -> Result:
    """Call `work(*arguments, progress=..., stop=...)` in another process; return what it returns.

    Ctrl-C and SIGTERM are for this process: the other one stops when `stop` says so here, or when
    this process has ended.

    Args:
        name: what messages call the work.
        work, arguments: can be pickled, as can the result.
        progress, stop: called here when the work calls its own.
        patience: seconds after which the process is killed if it has been told to stop.
    Raises:
        VideoError: the process has crashed, as in a decoder; and what the work raises.
    """
    spawning = multiprocessing.get_context("spawn")
    pipe, theirs = spawning.Pipe()
    process = spawning.Process(target=_work, args=(theirs, name, work, arguments))
    # For it they are not, and before its first line it would die of them.
    with without_signals(signal.SIGINT, signal.SIGTERM):
        process.start()
    theirs.close()
    told: float | None = None
    try:
        while True:
            if told is None and stop():
                told = time.monotonic()
                pipe.send("stop")
            if told and patience is not None and time.monotonic() > told + patience:
                process.kill()
            if not pipe.poll(_LOOK_UP):
                continue
            kind, value = pipe.recv()
            if kind == "result":
                result: Result = value
                return result
            if kind == "error":
                raise value
            if kind == "log":
                logging.getLogger(value.name).handle(value)
            else:
                progress(value)
    except (EOFError, ConnectionError):
        process.join()
        code = process.exitcode or 0
        try:
            ending = signal.Signals(-code).name
        except ValueError:  # none, or one without a name
            ending = f"exit code {code}"
        raise VideoError(f"{name}: the process that read it has ended: {ending}") from None
    finally:
        pipe.close()  # by which the other process stops, if it has not ended
        process.join(patience)
        if process.is_alive():
            process.kill()
            process.join()


def _work(
    pipe: Connection, name: str, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    """Do the work and report through the pipe; anything that comes from it means to stop."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    turn = threading.Lock()

    def tell(kind: str, what: Any) -> None:
        with turn:
            pipe.send((kind, what))

    queue: Any = SimpleNamespace(put_nowait=partial(tell, "log"))
    logging.getLogger().addHandler(QueueHandler(queue))
    try:
        with failing_alone(name):
            result = work(*arguments, progress=partial(tell, "progress"), stop=pipe.poll)
            tell("result", result)
    except ToonboxError as error:
        tell("error", ExceptionWithTraceback(error, error.__traceback__))
