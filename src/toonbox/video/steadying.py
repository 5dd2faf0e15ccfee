"""Suppress flicker: move the cartoon drawn before along, and mix it with the one drawn now.

Only frames that were shown before are looked at. OpenCV is optional (pip install
'toonbox[steady]'), and imported once it is needed.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from toonbox.errors import MissingExtraError
from toonbox.pixels import FloatArray, Uint8Array

Box = tuple[slice, slice]  # rows and columns
IntArray = npt.NDArray[np.int64]

INSTALL = "pip install 'toonbox[steady]'"
FLOW_SIDE = 192  # pixels of the short side at which motion is estimated: quick, and less noise
ENLARGED = 2  # at most this many times; LEAST_SIDE is always reached
LEAST_SIDE = 48  # pixels, below which OpenCV finds no motion
LARGEST_SIDE = 32766  # pixels, above which OpenCV moves nothing
NOISE = (8.0, 24.0)  # levels of 255 that photos may differ by: without noise, with much
EDGE = 0.5  # and by this of what they differ by anyway from pixel to pixel: motion is never exact
CUT = 0.5  # share of a photo that must be found again, or else it is another scene
FOUND = 0.25  # agreement of the photos from which a pixel counts as found again
CELL = 32  # pixels of a square; a square of which too much
MISSING = 0.1  # is not found again is drawn
AROUND = 32  # and so many pixels around it: the network looks at neighbours
BOX = 64  # pixels: sides of what is drawn are multiples, as a network is slow with a new size
CALL = 16  # squares that take the network as long as beginning and ending does

_logger = logging.getLogger(__name__)


# How strongly the last cartoon is mixed in: its largest share, and the levels by which it may leave
# the range of colours drawn around a pixel now; what is beyond is a ghost, and is cut off.
_MIXINGS: dict[str, tuple[float, int]] = {"on": (0.9, 24), "strong": (0.93, 28)}


@dataclass(frozen=True)
class Seen:
    """A photo reduced, and how it has moved since the one before."""

    small: Uint8Array  # (h, w, 3)
    grey: Uint8Array  # (h, w)
    back: FloatArray | None  # (h, w, 2), from each pixel to its place before; None for the first


@dataclass(frozen=True)
class _Drawn:
    """A frame that was drawn, and how later ones have moved."""

    seen: Seen
    cartoon: Uint8Array  # (H, W, 3), steadied
    last: Seen  # the last frame
    shown: Uint8Array  # its cartoon
    back: FloatArray  # (h, w, 2), from each pixel of the last to its place in this, small pixels


def default_stabilization(bits: int | None = None) -> Literal["off", "on"]:
    """Return "on" if a video of so many bits can be stabilized; otherwise warn that it is not."""
    if bits == 10:
        _logger.warning("10-bit cartoons are not stabilized")
    elif find_spec("cv2") is None:
        _logger.warning("without OpenCV, cartoons may flicker; to stabilize them: %s", INSTALL)
    else:
        return "on"
    return "off"


class Stabilizer:
    """Makes the cartoons of one video steady, one frame after the other; a `stylizer.Steady`.

    One that is drawn is mixed with the last one shown, moved to where its things are now. A pixel
    takes part where the photos agree, and no more than the colours drawn around it now allow. One
    that is not drawn is the last one that was, moved. After a scene cut, or if the size changes, it
    begins anew.

    Source:
        Motion: Kroeger et al. 2016 (DIS), by OpenCV. Clipping to the neighbourhood's colours: Karis
        2014, temporal antialiasing.
    """

    def __init__(self, strength: Literal["on", "strong"] = "on") -> None:
        """Begin a video; raise MissingExtraError without OpenCV."""
        try:
            import cv2
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"stabilization needs OpenCV: {INSTALL}") from error
        self._cv2: Any = cv2
        self._most, self._margin = _MIXINGS[strength]
        # Quick, but down to single pixels: lines must not tremble.
        preset = self._cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST
        self._motion = self._cv2.DISOpticalFlow_create(preset)
        self._motion.setFinestScale(0)
        self._motion.setPatchStride(5)
        self._motion.setGradientDescentIterations(12)
        self._motion.setVariationalRefinementIterations(0)
        self._last: Seen | None = None
        self._drawn: _Drawn | None = None

    def see(self, photo: Uint8Array) -> Seen:
        """Estimate the motion since the photo before; another thread may be ahead with this."""
        height, width = photo.shape[:2]
        short = min(height, width)
        scale = min(FLOW_SIDE / short, max(ENLARGED, LEAST_SIDE / short))
        wide, tall = (max(1, round(side * scale)) for side in (width, height))
        size = min(wide, LARGEST_SIDE), min(tall, LARGEST_SIDE)
        # Down to a half, linear is as good, and much quicker.
        how = self._cv2.INTER_LINEAR if scale >= 0.5 else self._cv2.INTER_AREA
        small: Uint8Array = self._cv2.resize(photo, size, interpolation=how)
        grey, last = self._cv2.cvtColor(small, self._cv2.COLOR_RGB2GRAY), self._last
        back: FloatArray | None = None
        if last is not None and last.grey.shape == grey.shape:
            back = self._motion.calc(grey, last.grey, None)
        self._last = Seen(small, grey, back)
        return self._last

    def __call__(
        self, photo: Uint8Array, cartoon: Uint8Array, seen: Seen | None = None
    ) -> Uint8Array:
        """Return the cartoon to show of a frame that is drawn; all are (H, W, 3) RGB.

        `seen` is what `see` gave for the photo, if it was called before.
        """
        now, steadied, drawn = seen or self.see(photo), cartoon, self._drawn
        if drawn is not None and now.back is not None and drawn.shown.shape == cartoon.shape:
            agreement = self._agreement(drawn.last, now, now.back)
            if agreement is not None:
                steadied = self._mixed(self._moved(drawn.shown, now.back), cartoon, agreement)
        self._begin(now, steadied)
        return steadied

    def carry(
        self, photo: Uint8Array, draw: Callable[[Uint8Array], Uint8Array], seen: Seen | None = None
    ) -> Uint8Array:
        """Return the cartoon to show of a photo, (H, W, 3); `draw` makes that of a new part."""
        now, drawn, agreement = seen or self.see(photo), self._drawn, None
        if drawn is not None and now.back is not None and drawn.cartoon.shape == photo.shape:
            # On from where the last frame was: from frame to frame things move little, and are
            # found.
            before = self._remapped(drawn.back, now.back + _grid(*now.grey.shape))
            drawn = replace(drawn, last=now, back=now.back + before)
            agreement = self._agreement(drawn.seen, now, drawn.back)
        if drawn is None or agreement is None:
            cartoon = draw(photo)
            self._begin(now, cartoon)
            return cartoon
        carried = self._moved(drawn.cartoon, drawn.back)
        if boxes := self._missing(agreement, photo.shape):
            share = np.clip(2 * agreement / FOUND - 1, 0, 1)
            share = self._cv2.resize(share, photo.shape[1::-1])
            for box in boxes:
                new, kept = draw(np.ascontiguousarray(photo[box])), share[box]
                carried[box] = self._cv2.blendLinear(carried[box], new, kept, 1 - kept)
        self._drawn = replace(drawn, shown=carried.copy())
        return carried

    def _begin(self, now: Seen, cartoon: Uint8Array) -> None:
        # A copy: whoever gets it may draw on it.
        still, kept = np.zeros((*now.grey.shape, 2), np.float32), cartoon.copy()
        self._drawn = _Drawn(now, kept, now, kept, still)

    def _remapped(self, picture: Any, where: FloatArray, method: str = "INTER_LINEAR") -> Any:
        cv2 = self._cv2
        return cv2.remap(
            picture, where, None, getattr(cv2, method), borderMode=cv2.BORDER_REPLICATE
        )

    def _agreement(self, before: Seen, now: Seen, back: FloatArray) -> FloatArray | None:
        """Return where two photos agree once the earlier one is moved: (h, w), 0 to 1.

        None if it is another scene.
        """
        cv2 = self._cv2
        height, width = now.grey.shape
        where = back + _grid(height, width)
        moved = self._remapped(before.small, where)
        # The mean of few pixels, with its sign: noise goes away, another thing stays.
        apart = cv2.blur(cv2.subtract(moved, now.small, dtype=cv2.CV_32F), (3, 3))
        apart = _largest(np.abs(apart))
        # How far levels are from those of the pixels around, once noise is smoothed.
        around, photo = np.ones((3, 3), np.uint8), cv2.blur(now.small, (3, 3))
        spread = _largest(cv2.subtract(cv2.dilate(photo, around), cv2.erode(photo, around)))
        allowed = np.clip(6 * np.median(apart[::4, ::4]), *NOISE) + np.float32(EDGE) * spread
        x, y = where[..., 0], where[..., 1]
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        if (inside & (apart < allowed)).mean() < CUT:
            return None
        agreement = np.clip(1.5 - 1.5 * apart / allowed, 0, 1) * inside
        # Least of the pixels around, so that what does not agree has no seam; then softly.
        soft: FloatArray = cv2.blur(cv2.erode(agreement.astype(np.float32), around), (3, 3))
        return soft

    def _moved(self, cartoon: Uint8Array, back: FloatArray) -> Uint8Array:
        """Move a cartoon, (H, W, 3), by the motion found in small photos."""
        height, width = cartoon.shape[:2]
        scales = np.array((width / back.shape[1], height / back.shape[0]), np.float32)
        where = self._cv2.resize(back * scales, (width, height))
        where += _grid(height, width)
        # Cubic: moved again and again, linear would blur the lines.
        moved: Uint8Array = self._remapped(cartoon, where, "INTER_CUBIC")
        return moved

    def _mixed(self, moved: Uint8Array, now: Uint8Array, agreement: FloatArray) -> Uint8Array:
        """Mix two cartoons, (H, W, 3), the one before at the places of now."""
        cv2 = self._cv2
        around, margin = np.ones((3, 3), np.uint8), (self._margin,) * 4
        moved = cv2.max(moved, cv2.subtract(cv2.erode(now, around), margin))
        moved = cv2.min(moved, cv2.add(cv2.dilate(now, around), margin))
        share = cv2.resize(agreement * np.float32(self._most), now.shape[1::-1])
        mixed: Uint8Array = cv2.blendLinear(moved, now, share, 1 - share)
        return mixed

    def _missing(self, agreement: FloatArray, shape: tuple[int, ...]) -> list[Box]:
        """Return the rows and columns of parts of a photo that hold all that is not found."""
        rows, columns = (-(-side // CELL) for side in shape[:2])
        missing = (agreement < FOUND).astype(np.float32)
        area = self._cv2.INTER_AREA
        shares = self._cv2.resize(missing, (columns, rows), interpolation=area)
        cells = np.argwhere(shares > MISSING)
        return [
            (_part(first[0], last[0], rows, shape[0]), _part(first[1], last[1], columns, shape[1]))
            for first, last in (_rectangles(cells) if len(cells) else ())
        ]


def _rectangles(cells: IntArray) -> list[tuple[IntArray, IntArray]]:
    """Cover squares, (n, 2), with the rectangles that are the least work: first and last squares.

    They are divided where two rectangles are less work than one, and so are those.
    """
    whole, best = _work(cells)[-1], None
    for axis in (0, 1):
        ordered = cells[np.argsort(cells[:, axis], kind="stable")]
        apart = _work(ordered)[:-1] + _work(ordered[::-1])[-2::-1]
        if len(apart) and apart.min() < whole:
            whole, best = apart.min(), np.split(ordered, [apart.argmin() + 1])
    if best is None:
        return [(cells.min(axis=0), cells.max(axis=0))]
    return [rectangle for part in best for rectangle in _rectangles(part)]


def _work(cells: IntArray) -> IntArray:
    """Return how much work a rectangle around the first one, two, three... squares is."""
    sides = np.maximum.accumulate(cells) - np.minimum.accumulate(cells) + 1 + 2 * AROUND // CELL
    work: IntArray = sides.prod(axis=1) + CALL
    return work


def _part(first: int, last: int, cells: int, side: int) -> slice:
    """Return which of a photo's rows or columns to draw for some of the squares along a side."""
    start, stop = first * side // cells - AROUND, (last + 1) * side // cells + AROUND
    start, stop = max(0, start), min(side, stop)
    length = min(side, -(-(stop - start) // BOX) * BOX)
    start = min(start, side - length)
    return slice(start, start + length)


@lru_cache(maxsize=4)
def _grid(height: int, width: int) -> FloatArray:
    """Return each pixel's own place, (height, width, 2): x and y; the same array each time."""
    rows, columns = np.indices((height, width), np.float32)
    return np.dstack([columns, rows])


def _largest(levels: Any) -> Any:
    """Return the largest of three channels, (h, w) of (h, w, 3), quicker than NumPy's `max`."""
    return np.maximum(np.maximum(levels[..., 0], levels[..., 1]), levels[..., 2])
