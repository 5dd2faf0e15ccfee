"""Ctrl-C and SIGTERM, which end the process at once or when what is begun is finished."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from toonbox.atomic import remove_temporaries

_ENDING = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Tells whether the process has been asked to end.

    Attributes:
        number: of the signal, 0 if there was none.
    """

    number = 0

    def __call__(self) -> bool:
        """Tell."""
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
    """Give what tells whether the process should end, so that what is begun can be finished.

    The second signal ends the process at once.

    Args:
        patient: False leaves everything as it is.
    Raises:
        KeyboardInterrupt, SystemExit: at the end of the block, see `ending`.
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
def without_sigterm() -> Iterator[None]:
    """Start processes that SIGTERM does not end: who stops a service sends it to all of them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ending(number: int) -> BaseException:
    """Give what ends a process that a signal has asked to: as Ctrl-C does, or with 143."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


def _end_at_once(number: int, _: FrameType | None) -> None:
    remove_temporaries()
    if number == signal.SIGINT:  # a shell ends its loop only if the signal has ended the command
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    os._exit(128 + number)
