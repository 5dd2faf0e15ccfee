"""A live camera as a cartoon, or a film shown like one: in a window, into a file, or both."""

import io
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from toonbox.engine.stylize import Look, Style
from toonbox.errors import ToonboxError, VideoError
from toonbox.films.drawing import Compare, Steady, composed, drawing_of, film_look
from toonbox.films.film import film_track
from toonbox.films.steadying import Stabilize, Stabilizer
from toonbox.live.newest import Newest
from toonbox.live.pace import Pace, paced
from toonbox.live.recording import Recording
from toonbox.media.video import Frame, Video, read_frames
from toonbox.picture import refuse_existing, write_file
from toonbox.pixels import Uint8Array

_logger = logging.getLogger(__name__)

_WAIT = 0.02  # seconds for a frame, before keys are looked at again
_RATE_OVER = 20  # frames


class Screen(Protocol):
    """Where cartoons are shown; see `window.Window`."""

    @property
    def is_open(self) -> bool:
        """Tell whether nobody has closed it."""
        ...

    def show(self, rgb: Uint8Array) -> None:
        """Show a picture, (H, W, 3)."""
        ...

    def key(self) -> str:
        """Give the key that was pressed, or nothing."""
        ...

    def tell(self, title: str) -> None:
        """Change its title."""
        ...


@dataclass(frozen=True)
class Showing:
    """How a frame is shown.

    Attributes:
        mirror: left and right change places.
        compare: as in `cartoonize_video`.
    """

    mirror: bool = False
    compare: Compare | None = None

    def picture(self, photo: Uint8Array, cartoon: Uint8Array) -> Uint8Array:
        """Make one picture of a photo and its cartoon, both (H, W, 3)."""
        if self.mirror:
            photo, cartoon = photo[:, ::-1], cartoon[:, ::-1]
        return np.ascontiguousarray(composed(photo, cartoon, self.compare))


class Artist:
    """Draws one frame after the other, in a style that can be changed in between.

    Attributes:
        name: of the style.
    """

    def __init__(
        self, load: Callable[[str], Style], name: str, look: Look, stabilize: Stabilize = "off"
    ) -> None:
        """Load the first style.

        Args:
            load: gives the style of a name.
            name: of the first.
            look: options of `Style.__call__`; the resolution as in `cartoonize_video`.
            stabilize: as in `cartoonize_video`.
        Raises:
            StyleError: there is no such style, or it is damaged.
            UsageError: it has not such a look.
            MissingExtraError: OpenCV is needed and not installed.
        """
        self._load, self._look, self._stabilize = load, look, stabilize
        self.change(name)

    def change(self, name: str) -> None:
        """Draw in another style from now on, or go on in the old one after an error.

        Raises:
            As `Artist`.
        """
        style = self._load(name)
        look = film_look(style, self._look)
        style(np.zeros((8, 8, 3), np.uint8), **look)  # what is wrong should be told now
        steady = None if self._stabilize == "off" else Stabilizer(self._stabilize)
        self.name, self.style, self.look = name, style, look
        self._steady: Steady | None = steady

    def __call__(self, photo: Uint8Array) -> Uint8Array:
        """Give the cartoon of a photo, both (H, W, 3)."""
        small, cartoon = self.style.sketch(photo, **self.look)
        if self._steady:
            cartoon = self._steady(small, cartoon)
        return self.style.finish(photo, small, cartoon, **self.look)


@dataclass
class Show:
    """Draws the newest frame again and again, and does what keys say.

    q ends it, the space bar pauses and goes on, s saves what is shown, digits change the style.

    Attributes:
        artist: draws.
        showing: how.
        screen: shows; None for nothing but a recording.
        record: keeps each picture and when it was taken.
        pace: is held in a pause.
        styles: for the digits 1 to 9.
        snapshots: folder of saved pictures.
        rate: tell frames a second in the title.
        tell: gets the name of each saved picture.
        clock: seconds.
    """

    artist: Artist
    showing: Showing
    screen: Screen | None = None
    record: Callable[[Uint8Array, int], None] | None = None
    pace: Pace | None = None
    styles: Sequence[str] = ()
    snapshots: Path = Path()
    rate: bool = True
    tell: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.shown = 0
        self._over = self._paused = False
        self._picture: Uint8Array | None = None
        self._times: deque[float] = deque(maxlen=_RATE_OVER)
        self._title = ""

    def run(self, frames: Newest[Frame], stop: Callable[[], bool] = lambda: False) -> None:
        """Show frames until there are no more, or somebody has had enough.

        Raises:
            VideoError: the frames end before they should.
            OutputError: they cannot be recorded.
        """
        self._entitle()
        while not (self._over or frames.ended or stop()):
            if self._paused:
                time.sleep(_WAIT)
            elif (frame := frames.take(_WAIT)) is not None:
                self._show(frame)
            if self.screen is not None:
                self._obey(self.screen.key())
                self._over |= not self.screen.is_open

    def _show(self, frame: Frame) -> None:
        picture = self.showing.picture(frame.photo, self.artist(frame.photo))
        if self.record is not None:
            self.record(picture, frame.pts)
        if self.screen is not None:
            self.screen.show(picture)
        self._picture = picture
        self.shown += 1
        self._times.append(self.clock())
        self._entitle()

    def _obey(self, key: str) -> None:
        if key == "q":
            self._over = True
        elif key == " ":
            self._pause()
        elif key == "s":
            self._save()
        elif key in set("123456789") and int(key) <= len(self.styles):
            self._change(self.styles[int(key) - 1])

    def _pause(self) -> None:
        self._paused = not self._paused
        self._times.clear()
        if self.pace is not None:
            (self.pace.pause if self._paused else self.pace.go_on)()
        self._entitle()

    def _save(self) -> None:
        if self._picture is None:
            return
        now = f"{datetime.now():%Y%m%d-%H%M%S-%f}"[:-3]
        target = self.snapshots / f"toon-{now}.png"
        stream = io.BytesIO()
        Image.fromarray(self._picture).save(stream, "PNG")
        try:
            refuse_existing(target)
            write_file(target, stream.getvalue())
        except ToonboxError as error:  # the show goes on
            _logger.warning("%s", error)
        else:
            self.tell(str(target))

    def _change(self, name: str) -> None:
        try:
            self.artist.change(name)
        except ToonboxError as error:
            _logger.warning("%s", error)
        self._times.clear()
        self._entitle()

    def _entitle(self) -> None:
        title = f"toonbox: {self.artist.name}"
        if self._paused:
            title += ", paused"
        elif self.rate and len(self._times) > 1 and self._times[-1] > self._times[0]:
            rate = (len(self._times) - 1) / (self._times[-1] - self._times[0])
            title += f", {rate:.1f} fps"
        if self.screen is not None and title != self._title:
            self.screen.tell(title)
            self._title = title


def play(
    show: Show, frames: Iterator[Frame], recording: Recording | None, stop: Callable[[], bool]
) -> VideoError | None:
    """Show frames, only the newest at any time, and record what is shown.

    Returns:
        Why the frames ended before they should; what was recorded until then is kept.
    Raises:
        OutputError: they cannot be recorded.
    """
    with ExitStack() as stack:
        if recording is not None:
            show.record = stack.enter_context(recording).add
        newest = stack.enter_context(closing(Newest(frames)))
        if show.pace is not None:
            stack.callback(show.pace.end)
        try:
            show.run(newest, stop)
        except VideoError as error:
            return error
    return None


def film_frames(video: Video, pace: Pace, max_height: int | None = None) -> Iterator[Frame]:
    """Give the frames of a film at its own pace."""
    return paced(read_frames(video, max_height=max_height), video.time_base, pace)


def record_film(
    source: Path,
    target: Path,
    artist: Artist,
    showing: Showing,
    stabilize: Stabilize = "off",
    max_height: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Draw every frame of a film as fast as they can be drawn, and write what would be shown.

    Returns:
        How many frames were written.
    Raises:
        VideoError: the film cannot be read.
        OutputError: the target cannot be written.
    """
    drawing = drawing_of(
        source, artist.style, artist.look, (None, None), max_height, None, stabilize
    )
    count = 0
    with Recording(target, film_track(drawing.video, drawing.size)) as recording:
        for frame, cartoon in drawing.frames():
            if stop():
                break
            recording.add(showing.picture(frame.photo, cartoon), frame.pts, frame.duration)
            count += 1
    return count
