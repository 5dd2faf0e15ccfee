"""A live camera, through OpenCV."""

import os
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from toonbox.errors import VideoError
from toonbox.live.window import opencv
from toonbox.media.frame_colours import FrameColours
from toonbox.media.video import Frame, reduced_size
from toonbox.media.video_encoding import Track

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
