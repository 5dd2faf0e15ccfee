"""A live camera as a cartoon, in a window."""

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import cycle
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Generic, TypeVar

import numpy as np
from PIL import Image

from toonbox.atomic import refuse_existing, writing
from toonbox.engine.style import Style
from toonbox.errors import ToonboxError, VideoError
from toonbox.options import Compare, Stabilize, StyleOptions
from toonbox.pixels import Uint8Array
from toonbox.video.read import reduced_size
from toonbox.video.steadying import Stabilizer
from toonbox.video.stylizer import EVERY, composed, video_style_options
from toonbox.video.window import Window, opencv

Item = TypeVar("Item")

_PATIENCE = 2.0  # seconds for a thread to end; a camera may never give its next picture
_WAIT = 0.02  # seconds for a frame, before keys are looked at again
_RATE_OVER = 20  # frames

_logger = logging.getLogger(__name__)


class LatestValue(Generic[Item]):
    """Takes items in a thread of its own, as fast as they come, and keeps only the latest."""

    def __init__(self, items: Iterator[Item]) -> None:
        """Start the thread, which uses the items, and closes them if they are a generator."""
        self.ended = False  # all has been taken, and nothing more will come
        self._items, self._closed = items, False
        self._waiting: Queue[Item | Exception | None] = Queue()  # an item; at last, the end
        # Nobody waits for a camera that hangs as the process ends.
        self._thread = Thread(target=self._run, name="toonbox-latest", daemon=True)
        self._thread.start()

    def take(self, seconds: float) -> Item | None:
        """Return the latest item, None if no new one came in time; raise what `items` raised."""
        try:
            taken = self._waiting.get(timeout=seconds)
        except Empty:
            return None
        self.ended = taken is None or isinstance(taken, Exception)
        if isinstance(taken, Exception):
            raise taken
        return taken

    def close(self) -> None:
        """Take no more."""
        self._closed = True
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        end = None
        try:
            for item in self._items:
                with suppress(Empty):
                    self._waiting.get_nowait()
                self._waiting.put(item)
                if self._closed:
                    break
        except Exception as error:  # noqa: BLE001 (it is raised where the items are taken)
            end = error
        finally:
            if isinstance(self._items, Generator):
                self._items.close()
            self._waiting.put(end)


class Camera:
    """A camera, open until it is closed."""

    def __init__(self, index: int, max_height: int | None = None) -> None:
        """Open a camera by its number in OpenCV, and read a first frame, or raise VideoError.

        Larger pictures are scaled down to `max_height` pixels.
        """
        self._cv2, self._index = opencv(), index
        logging = self._cv2.utils.logging
        level = logging.getLogLevel()
        logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # it would talk of all that it tries
        try:
            self._capture = self._cv2.VideoCapture(index)
            found, first = self._capture.read()
        finally:
            logging.setLogLevel(level)
        if not found:
            self.close()
            raise VideoError(f"camera {index}: {_why_not(index)}")
        self.size = reduced_size((first.shape[1], first.shape[0]), max_height)  # width and height

    def frames(self) -> Iterator[Uint8Array]:
        """Yield its pictures as they come, (H, W, 3) RGB; raise VideoError if it gives no more."""
        cv2 = self._cv2
        while True:
            found, picture = self._capture.read()
            if not found:
                raise VideoError(f"camera {self._index}: sends no more pictures")
            if picture.shape[1::-1] != self.size:
                picture = cv2.resize(picture, self.size, interpolation=cv2.INTER_AREA)
            yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        """Release it."""
        self._capture.release()


def _why_not(index: int) -> str:
    """Say why a camera cannot be opened; where nothing is known, what is most likely."""
    device = Path(f"/dev/video{index}")
    if sys.platform == "linux" and not device.exists():
        there = sorted(path.name.removeprefix("video") for path in device.parent.glob("video*"))
        others = f"available: {', '.join(there)}" if there else "this machine has none"
        return f"does not exist; {others} (in /dev)"
    if sys.platform == "linux" and not os.access(device, os.R_OK | os.W_OK):
        return f"{device} may not be read: add yourself to the group that owns it, often video"
    return "sends no pictures: it does not exist, is in use, or may not be used"


class FrameStylizer:
    """Draws one frame after the other, in a style that can be changed in between."""

    def __init__(
        self,
        load: Callable[[str], Style],
        name: str,
        options: StyleOptions,
        stabilize: Stabilize = "off",
    ) -> None:
        """Load the first style, by its name; options and stabilize as in `cartoonize_video`."""
        self._load, self._options, self._stabilize = load, options, stabilize
        self.change(name)

    def change(self, name: str) -> None:
        """Draw in another style from now on; after a ToonboxError, still in the old one."""
        style = self._load(name)
        options = video_style_options(style, self._options)
        style.check(options)
        steady = None if self._stabilize == "off" else Stabilizer(self._stabilize)
        self.name, self.style, self.options = name, style, options
        self._steady, self._turns = steady, cycle(range(EVERY))

    def __call__(self, photo: Uint8Array) -> Uint8Array:
        """Return the cartoon of a photo, both (H, W, 3)."""
        if self._steady and next(self._turns):
            small, _ = self.style.sketch(photo, replace(self.options, strength=0))
            native = replace(self.options, resolution="native")
            cartoon = self._steady.carry(small, lambda part: self.style.sketch(part, native)[1])
        else:
            small, cartoon = self.style.sketch(photo, self.options)
            cartoon = self._steady(small, cartoon) if self._steady else cartoon
        return self.style.finish(photo, small, cartoon, self.options.strength)


@dataclass
class Show:
    """Draws the latest picture again and again, and obeys keys.

    q ends it, the space bar pauses and resumes, s saves what is shown, digits change the style.
    """

    stylizer: FrameStylizer
    screen: Window
    mirror: bool = False
    compare: Compare | None = None  # as in `cartoonize_video`
    styles: Sequence[str] = ()  # for the digits 1 to 9
    snapshots: Path = Path()  # folder of saved pictures
    rate: bool = True  # show frames a second in the title
    report: Callable[[str], None] = lambda _: None  # gets the name of each saved picture
    clock: Callable[[], float] = time.monotonic  # seconds

    def __post_init__(self) -> None:
        self.shown = 0
        self._over = self._paused = False
        self._picture: Uint8Array | None = None
        self._times: deque[float] = deque(maxlen=_RATE_OVER)
        self._title = ""

    def run(
        self, frames: LatestValue[Uint8Array], stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Show frames until there are no more, or the user ends it."""
        self._update_title()
        while not (self._over or frames.ended or stop()):
            if self._paused:
                time.sleep(_WAIT)
            elif (frame := frames.take(_WAIT)) is not None:
                self._show(frame)
            self._obey(self.screen.key())
            self._update_title()
            self._over |= not self.screen.is_open

    def _show(self, photo: Uint8Array) -> None:
        cartoon = self.stylizer(photo)
        if self.mirror:
            photo, cartoon = photo[:, ::-1], cartoon[:, ::-1]
        self._picture = np.ascontiguousarray(composed(photo, cartoon, self.compare))
        self.screen.show(self._picture)
        self.shown += 1
        self._times.append(self.clock())

    def _obey(self, key: str) -> None:
        if key == "q":
            self._over = True
        elif key == " ":
            self._paused = not self._paused
            self._times.clear()
        elif key == "s" and self._picture is not None:
            self._save(self._picture)
        elif key in set("123456789") and int(key) <= len(self.styles):
            try:
                self.stylizer.change(self.styles[int(key) - 1])
            except ToonboxError as error:
                _logger.warning("%s", error)
            self._times.clear()

    def _save(self, picture: Uint8Array) -> None:
        now = f"{datetime.now():%Y%m%d-%H%M%S-%f}"[:-3]
        target = self.snapshots / f"toon-{now}.png"
        try:
            refuse_existing(target)
            with writing(target) as temporary:
                Image.fromarray(picture).save(temporary, "PNG")
        except ToonboxError as error:  # the show goes on
            _logger.warning("%s", error)
        else:
            self.report(str(target))

    def _update_title(self) -> None:
        title = f"toonbox: {self.stylizer.name}"
        if self._paused:
            title += ", paused"
        elif self.rate and len(self._times) > 1 and self._times[-1] > self._times[0]:
            rate = (len(self._times) - 1) / (self._times[-1] - self._times[0])
            title += f", {rate:.1f} fps"
        if title != self._title:
            self.screen.tell(title)
            self._title = title
