"""A window on the screen, through OpenCV, which is imported once it is needed.

Windows are missing in some of OpenCV's packages (pip install 'toonbox[camera]' brings one with
them), and those packages overwrite each other's files. On Linux, OpenCV must be imported before
PyAV: both bring a libxcb, and with PyAV's a window waits for ever (PyAV's issue 1050).
"""

import subprocess
import sys
from typing import Any

import numpy as np

from toonbox.errors import MissingExtraError, OutputError
from toonbox.pixels import Uint8Array

_INSTALL = "pip install 'toonbox[camera]'"
_REPAIR = (
    "the OpenCV here shows no windows: pip uninstall opencv-python-headless "
    "opencv-contrib-python-headless, then pip install --force-reinstall opencv-contrib-python"
)
_LARGEST = 1280, 720  # of a window as it opens, in pixels
_ESCAPE, _NOTHING = 27, 255


def opencv() -> Any:
    """Import OpenCV; raise MissingExtraError without it, or without what it needs itself."""
    try:
        import cv2
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cv2"
        reason = "" if missing else f" (the one that is installed does not load: {error})"
        raise MissingExtraError(f"this needs OpenCV: {_INSTALL}{reason}") from error
    return cv2


class Window:
    """A window on the screen; the same thread must open, use and close it."""

    def __init__(self, title: str) -> None:
        """Open it; raise MissingExtraError if OpenCV cannot, OutputError if there is no display."""
        self._cv2, self._name = opencv(), title
        framework = self._cv2.currentUIFramework()
        if not framework:
            raise MissingExtraError(_REPAIR)
        if framework.startswith("QT"):
            _check_display()
        flags = ("WINDOW_NORMAL", "WINDOW_KEEPRATIO", "WINDOW_GUI_NORMAL")
        try:
            self._cv2.namedWindow(title, sum(getattr(self._cv2, flag) for flag in flags))
        except self._cv2.error as error:
            raise OutputError(f"no window can be opened: {error.err or error}") from error
        self._sized = False

    @property
    def is_open(self) -> bool:
        """Return whether nobody has closed it."""
        try:
            visible: float = self._cv2.getWindowProperty(self._name, self._cv2.WND_PROP_VISIBLE)
        except self._cv2.error:  # how some window systems say no
            return False
        return visible >= 1

    def show(self, rgb: Uint8Array) -> None:
        """Show a picture, (H, W, 3), from the next call of `key` on."""
        if not self._sized:
            height, width = rgb.shape[:2]
            scale = min(1, _LARGEST[0] / width, _LARGEST[1] / height)
            self._cv2.resizeWindow(self._name, round(width * scale), round(height * scale))
            self._sized = True
        self._cv2.imshow(self._name, np.ascontiguousarray(rgb[..., ::-1]))

    def key(self) -> str:
        """Process the window's events; return the key that was pressed, or nothing."""
        code: int = self._cv2.waitKey(1) & 0xFF
        if code == _NOTHING:
            return ""
        return "q" if code == _ESCAPE else chr(code).lower()

    def tell(self, title: str) -> None:
        """Change its title."""
        self._cv2.setWindowTitle(self._name, title)

    def close(self) -> None:
        """Take it from the screen."""
        self._cv2.destroyAllWindows()


def _check_display() -> None:
    """Open a window in another process first: without a display, Qt ends the process it is in."""
    code = "import cv2; cv2.namedWindow('toonbox')"
    tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if tried.returncode:
        reason, *_ = [*tried.stderr.splitlines(), f"exit code {tried.returncode}"]
        raise OutputError(f"no window can be opened: {reason.strip()}")
