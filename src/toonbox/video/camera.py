"""A live camera as a cartoon, or a video shown like one: in a window, into a file, or both."""

import io
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
from PIL import Image

from toonbox.atomic import refuse_existing, write_file, writing
from toonbox.engine.style import Style
from toonbox.errors import ToonboxError, UsageError, VideoError
from toonbox.images.formats import GIF, container_of
from toonbox.options import Compare, StyleOptions, VideoOptions
from toonbox.pixels import Uint8Array
from toonbox.video.pipeline import track_of
from toonbox.video.read import Frame, FrameColours, Video, read_frames, reduced_size
from toonbox.video.steadying import Stabilize, Stabilizer
from toonbox.video.stylizer import Steady, composed, drawing_of, video_style_options
from toonbox.video.window import opencv
from toonbox.video.write import Encoding, SegmentWriter, Track, writing_segment

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


_STEP = 0.02  # seconds to wait before looking whether to go on


class Pace:
    """The time of a video that is being shown: it goes on as the clock does, but for pauses."""

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
        """Wait for a time, in seconds; the video begins with the first call."""
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
    """Give the frames of a video when they are due, and end when the last has been shown."""
    first, frame = None, None
    for frame in frames:
        first = frame.pts if first is None else first
        pace.wait(float((frame.pts - first) * time_base))
        yield frame
    if frame is not None and first is not None:
        pace.wait(float((frame.pts + frame.duration - first) * time_base))


_ESCAPE, _NOTHING = 27, 255


TIME_BASE = Fraction(1, 90_000)  # seconds: fine enough, and what MPEG counts in
_BT709 = 1


class Camera:
    """A camera, from when it is opened until it is closed.

    Attributes:
        size: width and height of its pictures in pixels.
    """

    def __init__(self, index: int, max_height: int | None = None) -> None:
        """Open it, and take a first picture.

        Args:
            index: 0 for the first camera of the machine, as OpenCV counts them.
            max_height: pixels; larger pictures are reduced to it.
        Raises:
            MissingExtraError: OpenCV is not installed.
            VideoError: there is no such camera, or it gives no pictures; says why, as far as known.
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
            self._capture.release()
            raise VideoError(f"camera {index}: {_why_not(index)}")
        self.size = reduced_size((first.shape[1], first.shape[0]), max_height)

    @property
    def track(self) -> Track:
        """Tell what its pictures have in common."""
        colours = FrameColours(1, _BT709, _BT709, _BT709, tall=True)
        return Track(self.size, TIME_BASE, None, Fraction(1), colours)

    def frames(self) -> Iterator[Frame]:
        """Give its pictures as they come, each with the time at which it came.

        Raises:
            VideoError: it gives no more.
        """
        cv2, last = self._cv2, -1
        while True:
            found, picture = self._capture.read()
            ticks = round(Fraction(time.monotonic_ns(), 10**9) / TIME_BASE)
            if not found:
                raise VideoError(f"camera {self._index}: gives no more pictures")
            if picture.shape[1::-1] != self.size:
                picture = cv2.resize(picture, self.size, interpolation=cv2.INTER_AREA)
            last = max(ticks, last + 1)
            yield Frame(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), last, 0)

    def close(self) -> None:
        """Let others have it."""
        self._capture.release()


def _why_not(index: int) -> str:
    """Say why a camera cannot be opened; where nothing is known, what is most likely."""
    if sys.platform == "linux":
        device = Path(f"/dev/video{index}")
        there = sorted(path.name.removeprefix("video") for path in device.parent.glob("video*"))
        if not device.exists():
            others = f"; there are {', '.join(there)}" if there else "; this machine has none"
            return f"there is none{others} (in /dev)"
        if not os.access(device, os.R_OK | os.W_OK):
            return f"{device} may not be read: add yourself to the group that owns it, often video"
    return "gives no pictures: there is none, another program has it, or it may not be used"


class Recording:
    """A video of what is shown, which begins with the first picture; without any there is no file.

    The file is complete once the block has ended without an error, and not there before.
    """

    def __init__(self, target: Path, track: Track) -> None:
        """Prepare it.

        Args:
            target: .mp4, .m4v, .mkv or .webm.
            track: what the pictures have in common; their size is that of the first.
        Raises:
            UsageError: a file that cannot be written.
        """
        self._container = container_of(target)
        if self._container is GIF:  # its palette is known only when all is there
            raise UsageError(f"{target}: a recording is .mp4, .m4v, .mkv or .webm")
        self._target, self._track = target, track
        self._stack = ExitStack()
        self._writer: SegmentWriter | None = None
        self._waiting: Frame | None = None
        self._first = self._step = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def add(self, rgb: Uint8Array, pts: int, duration: int = 0) -> None:
        """Add a picture, (H, W, 3).

        Args:
            rgb: the picture.
            pts: when it was taken, in the unit of the track; the first is shown at 0.
            duration: how long it is shown, as long as there is none after it; 0 for as long as the
                one before.
        Raises:
            OSError: the file cannot be written; an OutputError, once the block has ended by it.
        """
        if self._writer is None:
            self._begin(rgb, pts)
        self._write(pts - self._first)
        self._waiting = Frame(rgb, pts - self._first, duration)

    def _begin(self, rgb: Uint8Array, pts: int) -> None:
        track = replace(self._track, size=(rgb.shape[1], rgb.shape[0]))
        encoding = Encoding(self._container.codec)
        self._first, self._step = pts, round(Fraction(1, 25) / track.time_base)
        path = self._stack.enter_context(writing(self._target))
        muxer = self._container.muxer
        self._writer = self._stack.enter_context(writing_segment(path, track, encoding, muxer))
        self._stack.callback(self._write)

    def _write(self, until: int | None = None) -> None:
        """Write the picture that waits to know how long it is shown."""
        if self._waiting is None or self._writer is None:
            return
        frame = self._waiting
        lasts = frame.duration or self._step if until is None else until - frame.pts
        self._writer.write(frame.photo, frame.pts, lasts)
        self._step = lasts


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
        self,
        load: Callable[[str], Style],
        name: str,
        options: StyleOptions,
        stabilize: Stabilize = "off",
    ) -> None:
        """Load the first style.

        Args:
            load: gives the style of a name.
            name: of the first.
            options: how to draw; the resolution as in `cartoonize_video`.
            stabilize: as in `cartoonize_video`.
        Raises:
            StyleError: there is no such style, or it is damaged.
            UsageError: it has not such a look.
            MissingExtraError: OpenCV is needed and not installed.
        """
        self._load, self._options, self._stabilize = load, options, stabilize
        self.change(name)

    def change(self, name: str) -> None:
        """Draw in another style from now on, or go on in the old one after an error.

        Raises:
            As `Artist`.
        """
        style = self._load(name)
        options = video_style_options(style, self._options)
        style.stylize(np.zeros((8, 8, 3), np.uint8), options)  # report what is wrong now
        steady = None if self._stabilize == "off" else Stabilizer(self._stabilize)
        self.name, self.style, self.options = name, style, options
        self._steady: Steady | None = steady

    def __call__(self, photo: Uint8Array) -> Uint8Array:
        """Give the cartoon of a photo, both (H, W, 3)."""
        small, cartoon = self.style.sketch(photo, self.options)
        if self._steady:
            cartoon = self._steady(small, cartoon)
        return self.style.finish(photo, small, cartoon, self.options.strength)


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


def video_frames_at_pace(
    video: Video, pace: Pace, max_height: int | None = None
) -> Iterator[Frame]:
    """Give the frames of a video at its own pace."""
    return paced(read_frames(video, max_height=max_height), video.time_base, pace)


def record_video(
    source: Path,
    target: Path,
    artist: Artist,
    showing: Showing,
    stabilize: Stabilize = "off",
    max_height: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Draw every frame of a video as fast as they can be drawn, and write what would be shown.

    Returns:
        How many frames were written.
    Raises:
        VideoError: the video cannot be read.
        OutputError: the target cannot be written.
    """
    drawing = drawing_of(
        source,
        artist.style,
        artist.options,
        VideoOptions(max_height=max_height, stabilize=stabilize),
        None,
    )
    count = 0
    with Recording(target, track_of(drawing.video, drawing.size)) as recording:
        for frame, cartoon in drawing.frames():
            if stop():
                break
            recording.add(showing.picture(frame.photo, cartoon), frame.pts, frame.duration)
            count += 1
    return count
