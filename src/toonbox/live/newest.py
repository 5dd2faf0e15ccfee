"""The newest of what another thread makes: whoever is slower misses some, but never lags behind."""

import threading
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_PATIENCE = 2.0  # seconds for a thread to end; a camera may never give its next picture


class Newest(Generic[Item]):
    """Takes items in a thread of its own, as fast as they come, and keeps only the newest."""

    def __init__(self, items: Iterator[Item]) -> None:
        """Begin at once.

        Args:
            items: used, and closed if it is a generator, in the other thread only.
        """
        self._items = items
        self._changed = threading.Condition()
        self._newest: list[Item] = []  # one, or none
        self._error: Exception | None = None
        self._over = self._closed = False
        # Nobody waits for a camera that hangs as the process ends.
        self._thread = threading.Thread(target=self._run, name="toonbox-newest", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Tell whether all has been taken, and nothing more will come."""
        with self._changed:
            return self._over and not self._newest and self._error is None

    def take(self, seconds: float) -> Item | None:
        """Give the newest item that has not been taken; None if none came in so many seconds.

        Raises:
            What `items` has raised, once what came before is taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self._over, seconds)
            if self._newest:
                return self._newest.pop()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            return None

    def close(self) -> None:
        """Take no more."""
        self._closed = True
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        error = None
        try:
            for item in self._items:
                with self._changed:
                    self._newest[:] = [item]
                    self._changed.notify_all()
                if self._closed:
                    break
        except Exception as raised:  # noqa: BLE001 (it is raised where the items are taken)
            error = raised
        finally:
            if isinstance(self._items, Generator):
                self._items.close()
            with self._changed:
                self._error, self._over = error, True
                self._changed.notify_all()
