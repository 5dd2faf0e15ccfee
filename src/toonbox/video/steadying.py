"""Steadies the cartoons of a video: what was drawn before is moved along and mixed in.

Only frames that were shown before are looked at. OpenCV is imported by nothing else of the using
half, and only once it is needed (pip install 'toonbox[steady]').
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from toonbox.errors import MissingExtraError, UsageError
from toonbox.pixels import FloatArray, Uint8Array

Strength = Literal["on", "strong"]
Stabilize = Literal["off"] | Strength

INSTALL = "pip install 'toonbox[steady]'"
SMALL = 288  # pixels of the short side; of larger pictures motion is looked for
FLOW_SIDE = 240  # at this one: quick, and less noise
LEAST_SIDE = 48  # below which OpenCV finds no motion
NOISE = (8.0, 24.0)  # levels of 255 that photos may differ by: without noise, with much
EDGE = 0.5  # and by this of what they differ by anyway from pixel to pixel: motion is never exact
CUT = 0.5  # share of a photo that must be found again, or else it is another scene


@dataclass(frozen=True)
class _Mixing:
    """How the last cartoon is mixed in.

    Attributes:
        kept: its largest share.
        margin: levels by which it may leave the range of colours drawn around a pixel now; what
            is beyond is a ghost, and is cut off.
    """

    kept: float
    margin: int


_MIXINGS: dict[Strength, _Mixing] = {"on": _Mixing(0.7, 12), "strong": _Mixing(0.85, 20)}


@dataclass(frozen=True)
class _Shown:
    """A frame that was shown.

    Attributes:
        photo: (h, w, 3), reduced.
        grey: (h, w), of the same.
        cartoon: (H, W, 3), steadied.
    """

    photo: Uint8Array
    grey: Uint8Array
    cartoon: Uint8Array


def can_steady() -> bool:
    """Tell whether OpenCV is installed, without importing it."""
    return find_spec("cv2") is not None


class Stabilizer:
    """Makes the cartoons of one video steady, one frame after the other; a `drawing.Steady`.

    Each is mixed with the one before it, moved to where its things are now. A pixel takes part
    where the photos agree, and no more than the colours drawn around it now allow. After a scene
    cut, or if the size changes, it begins anew.

    Source:
        Motion: Kroeger et al. 2016 (DIS), by OpenCV. Clipping to the neighbourhood's colours: Karis
        2014, temporal antialiasing.
    """

    def __init__(self, strength: Strength = "on") -> None:
        """Begin a video.

        Args:
            strength: "on", or "strong", which is steadier and follows changes later.
        Raises:
            UsageError: no such strength.
            MissingExtraError: OpenCV is not installed.
        """
        if strength not in _MIXINGS:
            raise UsageError(f"stabilize must be off, on or strong, got {strength!r}")
        try:
            import cv2
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"steady pictures need OpenCV: {INSTALL}") from error
        self._cv2: Any = cv2
        self._mixing = _MIXINGS[strength]
        self._motion = self._cv2.DISOpticalFlow_create(self._cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._last: _Shown | None = None

    def __call__(self, photo: Uint8Array, cartoon: Uint8Array) -> Uint8Array:
        """Give the cartoon to show.

        Args:
            photo: (H, W, 3) RGB.
            cartoon: the same shape.
        Returns:
            The same shape; `cartoon` itself where nothing can be mixed in.
        """
        small = self._reduced(photo)
        grey = self._cv2.cvtColor(small, self._cv2.COLOR_RGB2GRAY)
        last, steadied = self._last, cartoon
        if last is not None and last.cartoon.shape == cartoon.shape:
            back = self._motion.calc(grey, last.grey, None)
            share = self._share(last.photo, small, back)
            if share is not None:
                steadied = self._mixed(last.cartoon, cartoon, back, share)
        # A copy: whoever gets it may draw on it.
        self._last = _Shown(small, grey, steadied.copy())
        return steadied

    def _reduced(self, photo: Uint8Array) -> Uint8Array:
        height, width = photo.shape[:2]
        short = min(height, width)
        scale = max(FLOW_SIDE if short > SMALL else short, LEAST_SIDE) / short
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small: Uint8Array = self._cv2.resize(photo, size, interpolation=self._cv2.INTER_AREA)
        return small

    def _share(self, before: Uint8Array, now: Uint8Array, back: FloatArray) -> FloatArray | None:
        """Tell how much of each pixel may come from before; None after a scene cut.

        Args:
            before, now: (h, w, 3), the reduced photos.
            back: (h, w, 2), the motion from now to before.
        Returns:
            (h, w), 0 to the largest share.
        """
        cv2 = self._cv2
        height, width = now.shape[:2]
        where = back + _grid(height, width)
        moved = cv2.remap(before, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        # The mean of few pixels, with its sign: noise goes away, another thing stays.
        apart = cv2.blur(cv2.subtract(moved, now, dtype=cv2.CV_32F), (3, 3))
        apart = _largest(np.abs(apart))
        allowed = np.clip(6 * np.median(apart[::4, ::4]), *NOISE) + EDGE * self._spread(now)
        x, y = where[..., 0], where[..., 1]
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        if (inside & (apart < allowed)).mean() < CUT:
            return None
        share = np.clip(1.5 - 1.5 * apart / allowed, 0, 1) * inside
        # Least of the pixels around, so that what does not agree has no seam; then softly.
        share = cv2.blur(cv2.erode(share.astype(np.float32), np.ones((3, 3), np.uint8)), (3, 3))
        kept: FloatArray = share * np.float32(self._mixing.kept)
        return kept

    def _spread(self, photo: Uint8Array) -> FloatArray:
        """Tell how far levels are from those of the pixels around; noise is smoothed first."""
        cv2, around = self._cv2, np.ones((3, 3), np.uint8)
        soft = cv2.blur(photo, (3, 3))
        spread: Uint8Array = cv2.subtract(cv2.dilate(soft, around), cv2.erode(soft, around))
        levels: FloatArray = _largest(spread).astype(np.float32)
        return levels

    def _mixed(
        self, before: Uint8Array, now: Uint8Array, back: FloatArray, share: FloatArray
    ) -> Uint8Array:
        """Mix two cartoons, (H, W, 3), by the motion and the shares found in small photos."""
        cv2 = self._cv2
        height, width = now.shape[:2]
        scales = np.array((width / back.shape[1], height / back.shape[0]), np.float32)
        where = cv2.resize(back * scales, (width, height)) + _grid(height, width)
        # Cubic: mixed again and again, linear would blur the lines.
        moved = cv2.remap(before, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        around, margin = np.ones((3, 3), np.uint8), (self._mixing.margin,) * 4
        moved = cv2.max(moved, cv2.subtract(cv2.erode(now, around), margin))
        moved = cv2.min(moved, cv2.add(cv2.dilate(now, around), margin))
        share = cv2.resize(share, (width, height))
        mixed: Uint8Array = cv2.blendLinear(moved, now, share, 1 - share)
        return mixed


def _grid(height: int, width: int) -> FloatArray:
    """Give each pixel's own place, (height, width, 2): x and y."""
    places = np.empty((height, width, 2), np.float32)
    places[..., 0] = np.arange(width, dtype=np.float32)
    places[..., 1] = np.arange(height, dtype=np.float32)[:, None]
    return places


def _largest(levels: Any) -> Any:
    """Give the largest of three channels, (h, w) of (h, w, 3), quicker than NumPy's `max`."""
    return np.maximum(np.maximum(levels[..., 0], levels[..., 1]), levels[..., 2])
