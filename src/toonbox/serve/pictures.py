"""Draw pictures in this process: loaded styles, a bounded pool of threads, one budget of memory."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from starlette.requests import ClientDisconnect

from toonbox.convert.job import Converted, Converter, Job, Need, fit, machine_limit
from toonbox.engine.style import Card, Style, find_style, load_style, read_card, style_names
from toonbox.errors import StyleError, ToonboxError
from toonbox.options import OutputOptions, StyleOptions
from toonbox.serve.metrics import Metrics
from toonbox.serve.problems import busy
from toonbox.serve.settings import ServerOptions

_LOOK_UP = 0.2  # seconds between two checks whether to give up
_BODIES = 0.25  # share of the memory for what is received and sent; the rest is for drawing
_JOB = 0.5  # share of the drawing's memory for a job


class Styles:
    """All styles, by name; each is loaded once."""

    def __init__(self, options: ServerOptions) -> None:
        """Look up the default one, whose name may be a folder.

        Raises:
            StyleError: it is missing, or its card is damaged.
        """
        self._options, self._folder, name = options, find_style(options.style), options.style
        self.default = name if Path(name).name == name else read_card(self._folder).name
        self._loaded: dict[str, Style] = {}
        self._lock = threading.Lock()

    def find(self, name: str | None) -> Path:
        """Return a style's folder; a path is no name.

        Raises:
            HTTPException: there is none.
        """
        if name is None or name == self.default:
            return self._folder
        if name not in (names := style_names()):
            raise HTTPException(422, f"no style {name!r}; available: {', '.join(names)}")
        return find_style(name)

    def load(self, name: str | None = None) -> Style:
        """Return a style, shared by all threads."""
        folder = self.find(name)
        with self._lock:
            if (key := str(folder)) not in self._loaded:
                loaded = load_style(folder, precision=self._options.precision)
                self._loaded[key] = loaded.shared(self._options.drawn)
            return self._loaded[key]

    @property
    def ready(self) -> bool:
        """Return whether the default style is loaded."""
        return str(self._folder) in self._loaded

    def cards(self) -> list[tuple[str, Card]]:
        """List names and cards, the default style's first; damaged ones are left out."""
        found = []
        for name in dict.fromkeys([self.default, *style_names()]):
            with suppress(StyleError):
                found.append((name, read_card(self.find(name))))
        return found


@dataclass(eq=False)
class _Turn:
    """What waits to be drawn, or is drawn: `lasts` if that takes long."""

    need: Need
    lasts: bool


class Budget:
    """The memory of the whole server: bodies, what is drawn, and jobs.

    Bodies have a share of their own, so that waiting requests never block those that are drawn.
    """

    def __init__(self, limit: int | None, runs: int) -> None:
        limit = limit or machine_limit()
        self._bodies_limit = int(limit * _BODIES)
        self.drawing_limit = limit - self._bodies_limit
        self.job_limit = int(self.drawing_limit * _JOB)
        self._runs, self._bodies = runs, 0
        self._waiting: list[_Turn] = []  # in order of arrival
        self._begun: list[_Turn] = []
        self._changed = threading.Condition()

    def add_body(self, size: int) -> None:
        """Count bytes that are received, or are to be sent.

        Raises:
            HTTPException: there is no room for them.
        """
        if self._bodies + size > self._bodies_limit:
            raise HTTPException(503, "no memory for more requests", {"Retry-After": "5"})
        self.count_body(size)

    def count_body(self, size: int) -> None:
        """Count bytes that are already in memory, or, negative, released."""
        with self._changed:
            self._bodies += size

    @contextmanager
    def drawing(
        self, need: Need, give_up: Callable[[], bool], *, lasts: bool = False
    ) -> Iterator[bool]:
        """Wait for memory, in order of arrival, and hold it; tell whether it was worth waiting.

        Args:
            need: how much.
            give_up: asked while it waits.
            lasts: it may take an hour, as a job does. What has no room beside it lets others pass.
        """
        turn = _Turn(need, lasts)
        with self._changed:
            self._waiting.append(turn)
            try:
                while not (gone := give_up()) and not self._is_next(turn):
                    self._changed.wait(_LOOK_UP)
            finally:
                self._waiting.remove(turn)
            if not gone:
                self._begun.append(turn)
            self._changed.notify_all()
        try:
            yield not gone
        finally:
            if not gone:
                with self._changed:
                    self._begun.remove(turn)
                    self._changed.notify_all()

    def _is_next(self, turn: _Turn) -> bool:
        lasting = [each for each in self._begun if each.lasts]
        earlier = self._waiting[: self._waiting.index(turn)]
        if any(self._fit([*lasting, each]) for each in earlier):
            return False
        return self._fit([*self._begun, turn])

    def _fit(self, turns: list[_Turn]) -> bool:
        needs = [turn.need for turn in turns]
        return len(needs) == 1 or fit(needs, self.drawing_limit, self._runs)


@dataclass
class Slot:
    """A place in the queue of pictures, with the bytes that it holds."""

    budget: Budget
    until: float
    held: bool = True
    size: int = 0
    abandoned: threading.Event = field(default_factory=threading.Event)

    def add(self, size: int) -> None:
        """Count bytes; raise as `Budget.add_body`."""
        self.budget.add_body(size)
        self.size += size

    def exchange(self, size: int) -> None:
        """Count these bytes in place of those held so far."""
        self.budget.count_body(size - self.size)
        self.size = size


class AbandonedError(ToonboxError):
    """Nobody waits for the picture any more."""


class Pictures:
    """Converts pictures, a few at a time; a few more may wait."""

    def __init__(
        self, options: ServerOptions, styles: Styles, budget: Budget, metrics: Metrics
    ) -> None:
        self.options, self.styles, self.budget, self.metrics = options, styles, budget, metrics
        self._pool = ThreadPoolExecutor(options.drawn, thread_name_prefix="toonbox")
        self._lock = threading.Lock()
        self._taken, self._seconds = 0, 1.0  # slots; of a picture, about

    @contextmanager
    def slot(self) -> Iterator[Slot]:
        """Take a place from the first byte of a request until it is drawn.

        Its bytes count to the last one of the answer.

        Raises:
            HTTPException: there is none.
        """
        runs = self.options.drawn
        if self._taken >= runs + self.options.queue:
            raise busy("too many pictures are waiting", self._seconds * self.options.queue / runs)
        slot = Slot(self.budget, asyncio.get_running_loop().time() + self.options.deadline)
        self._take(1)
        try:
            yield slot
        finally:
            slot.exchange(0)
            self._leave(slot)

    def _leave(self, slot: Slot) -> None:
        if slot.held:
            slot.held = False
            self._take(-1)

    def _take(self, count: int) -> None:
        with self._lock:
            self._taken += count
        self.metrics.in_progress.inc(count)

    async def convert(
        self,
        slot: Slot,
        job: Job,
        style: str | None,
        options: tuple[StyleOptions, OutputOptions],
        gone: "asyncio.Future[None]",
    ) -> Converted:
        """Convert a picture in another thread.

        Args:
            slot: its place.
            job: its bytes.
            style: name of a style, None for the default one.
            options: how to draw and write.
            gone: is done when the client has gone.
        Raises:
            HTTPException: it took too long.
            ClientDisconnect: the client has gone.
            ToonboxError: as in `Converter.convert`.
        """
        style_options, output = options
        asked, loop = time.perf_counter(), asyncio.get_running_loop()

        def go_on(*_: object) -> None:
            """End the drawing if nobody waits for it."""
            if slot.abandoned.is_set():
                raise AbandonedError

        def work() -> Converted | None:
            """Convert the picture; return None if nobody waits for it."""
            limit = min(output.max_memory or 1 << 62, self.budget.drawing_limit)
            limited = replace(output, max_memory=limit)
            watched = copy(self.styles.load(style))
            watched.before_run = go_on
            converter = Converter(watched, style_options, limited)
            converter.on_frame = go_on
            need = converter.estimate(job)
            with self.budget.drawing(need, slot.abandoned.is_set) as worth_it:
                if not worth_it:
                    return None
                began = time.perf_counter()
                self.metrics.waiting.observe(began - asked)
                try:
                    return converter.convert(job, need)
                finally:
                    taken = time.perf_counter() - began
                    self.metrics.processing.labels(style or self.styles.default).observe(taken)
                    self._seconds += (taken - self._seconds) / 8

        begun = self._pool.submit(work)
        done = asyncio.wrap_future(begun)
        either: set[asyncio.Future[Any]] = {done, gone}
        try:
            await asyncio.wait(
                either, timeout=slot.until - loop.time(), return_when=asyncio.FIRST_COMPLETED
            )
        finally:  # also if the server ends
            if not done.done():
                slot.abandoned.set()
                done.add_done_callback(lambda future: future.cancelled() or future.exception())
                if not begun.cancel():  # what is being drawn keeps a place until it is done
                    slot.held = False
                    begun.add_done_callback(lambda _: self._take(-1))
        if done.done():
            converted = done.result()
            assert converted is not None
            slot.exchange(len(converted.data))
            self._leave(slot)
            return converted
        if gone.done():
            raise ClientDisconnect
        raise HTTPException(504, f"took longer than {self.options.deadline:g} seconds")

    def close(self) -> None:
        """Wait for those that are being drawn: each ends with its frame or tile."""
        self._pool.shutdown(cancel_futures=True)
