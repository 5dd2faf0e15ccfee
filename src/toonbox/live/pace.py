"""A film at its own pace, as if a camera were taking it."""

import time
from collections.abc import Callable, Iterator
from fractions import Fraction

from toonbox.media.video import Frame

_STEP = 0.02  # seconds to wait before looking whether to go on


class Pace:
    """The time of a film that is being shown: it goes on as the clock does, but for pauses."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._began: float | None = None
        self._held: float | None = None
        self._ended = False

    def wait(self, until: float) -> None:
        """Wait for a time, in seconds; the film begins with the first call."""
        if self._began is None:
            self._began = self._clock()
        while not self._ended:
            now = self._clock() if self._held is None else self._held
            if (left := until - (now - self._began)) <= 0:
                return
            self._sleep(min(left, _STEP))

    def pause(self) -> None:
        """Hold the time."""
        self._held = self._clock()

    def go_on(self) -> None:
        """Let it go on from there."""
        if self._held is not None and self._began is not None:
            self._began += self._clock() - self._held
        self._held = None

    def end(self) -> None:
        """Wait no more."""
        self._ended = True


def paced(frames: Iterator[Frame], time_base: Fraction, pace: Pace) -> Iterator[Frame]:
    """Give the frames of a film when they are due, and end when the last has been shown."""
    first, frame = None, None
    for frame in frames:
        first = frame.pts if first is None else first
        pace.wait(float((frame.pts - first) * time_base))
        yield frame
    if frame is not None and first is not None:
        pace.wait(float((frame.pts + frame.duration - first) * time_base))
