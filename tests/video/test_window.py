"""The window and the camera, on an OpenCV that is none."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from toonbox.errors import MissingExtraError, OutputError, VideoError
from toonbox.video.camera import Camera
from toonbox.video.window import Window, opencv


class Cv2(SimpleNamespace):
    """Notes what it is told, and answers as OpenCV does."""

    class error(Exception):  # noqa: N801, N818
        err = "Can't initialize GTK backend"

    def __init__(self, pictures=(), framework="GTK3", **own):
        self.calls, self.codes, self.visible = [], [], 1.0
        self.pictures = list(pictures)
        self.currentUIFramework = lambda: framework
        for flag in ("WINDOW_NORMAL", "WINDOW_KEEPRATIO", "WINDOW_GUI_NORMAL"):
            setattr(self, flag, 0)
        self.WND_PROP_VISIBLE, self.INTER_AREA, self.COLOR_BGR2RGB = 4, 3, 4
        for name in ("namedWindow", "imshow", "resizeWindow", "setWindowTitle"):
            setattr(self, name, self._noted(name))
        self.destroyAllWindows = self._noted("destroyAllWindows")
        self.waitKey = lambda _: self.codes.pop(0)
        self.getWindowProperty = lambda *_: self.visible
        self.cvtColor = lambda picture, _: picture[..., ::-1]
        self.resize = lambda picture, size, interpolation: picture[: size[1], : size[0]]
        logging = {"getLogLevel": lambda: 3, "setLogLevel": self._noted("level")}
        self.utils = SimpleNamespace(logging=SimpleNamespace(LOG_LEVEL_SILENT=0, **logging))
        self.VideoCapture = lambda index: SimpleNamespace(
            read=lambda: (True, self.pictures.pop(0)) if self.pictures else (False, None),
            release=self._noted("release"),
        )
        self.__dict__.update(own)

    def _noted(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))


@pytest.fixture
def use(monkeypatch):
    def use(*arguments, **own):
        cv2 = Cv2(*arguments, **own)
        monkeypatch.setitem(sys.modules, "cv2", cv2)
        return cv2

    return use


def test_a_window(use):
    cv2 = use()
    window = Window("toonbox")
    picture = np.zeros((1440, 1280, 3), np.uint8)
    picture[..., 0] = 200
    window.show(picture)
    window.show(picture)
    assert [call[0] for call in cv2.calls] == ["namedWindow", "resizeWindow", "imshow", "imshow"]
    assert cv2.calls[1] == ("resizeWindow", "toonbox", 640, 720)
    assert cv2.calls[2][2][0, 0].tolist() == [0, 0, 200]  # BGR
    cv2.codes = [-1, 27, ord("S"), ord(" ")]
    assert [window.key() for _ in range(4)] == ["", "q", "s", " "]
    assert window.is_open
    cv2.visible = 0.0
    assert not window.is_open

    def fail(*_):
        raise cv2.error

    cv2.getWindowProperty = fail
    assert not window.is_open
    window.tell("new")
    window.close()
    assert cv2.calls[-2:] == [("setWindowTitle", "toonbox", "new"), ("destroyAllWindows",)]
    cv2.namedWindow = fail
    with pytest.raises(OutputError, match="Can't initialize GTK"):
        Window("toonbox")


def test_an_opencv_without_windows(use):
    use(framework="")
    with pytest.raises(MissingExtraError, match="--force-reinstall opencv-contrib-python"):
        Window("toonbox")


def test_no_opencv(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"toonbox\[camera\]'$"):
        opencv()
    monkeypatch.delitem(sys.modules, "cv2")
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"does not load: libGL.so.1"):
        opencv()


@pytest.mark.parametrize(
    ("code", "stderr", "reason"),
    [(-6, "qt.qpa.xcb: could not connect to display\n", "could not connect"), (3, "", "code 3")],
)
def test_qt_without_a_display(use, monkeypatch, code, stderr, reason):
    """It would end this process; so another one tries first."""
    cv2 = use(framework="QT5")
    done = SimpleNamespace(returncode=code, stderr=stderr)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(OutputError, match=reason):
        Window("toonbox")
    assert cv2.calls == []
    done.returncode = 0
    Window("toonbox")
    assert [call[0] for call in cv2.calls] == ["namedWindow"]


def test_a_camera(use):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[..., 0] = 200  # blue
    cv2 = use([picture] * 3)
    device = Camera(0, max_height=24)
    assert device.size == (32, 24)
    frames = device.frames()
    assert (first := next(frames)).shape == (24, 32, 3)
    assert first[0, 0].tolist() == [0, 0, 200]  # RGB
    next(frames)
    with pytest.raises(VideoError, match="camera 0: sends no more pictures"):
        next(frames)
    device.close()
    assert cv2.calls == [("level", 0), ("level", 3), ("release",)]


def test_no_camera(use, monkeypatch, tmp_path):
    cv2 = use()
    devices = tmp_path / "dev"
    devices.mkdir()
    monkeypatch.setattr(
        "toonbox.video.camera.Path", lambda name: devices / name.removeprefix("/dev/")
    )
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(VideoError, match="camera 3: does not exist; this machine has none"):
        Camera(3)
    (devices / "video0").touch()
    with pytest.raises(VideoError, match="camera 3: does not exist; available: 0"):
        Camera(3)
    with pytest.raises(VideoError, match="it does not exist, is in use"):
        Camera(0)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(VideoError, match="add yourself to the group"):
        Camera(0)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(VideoError, match="may not be used"):
        Camera(3)
    assert cv2.calls.count(("release",)) == 5


def test_opencv_comes_before_pyav():
    """With PyAV's libxcb, a window of OpenCV's would wait for ever."""
    root = Path(__file__).parents[2]
    code = (
        "import sys\n"
        "import toonbox.cli.main, toonbox.video.window\n"
        "assert 'av' not in sys.modules and 'cv2' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root / "src")
