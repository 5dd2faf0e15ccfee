import sys

import numpy as np
import pytest

from toonbox.cli.main import main
from toonbox.errors import VideoError
from video_files import motion


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def camera(toonbox):
    return lambda *arguments: toonbox("camera", *arguments)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--camera", "-1"], 2, "--camera"),
        (["--surface", "1"], 2, "has no knob"),
        (["--camera", "99"], 1, "camera 99: "),
    ],
)
def test_what_is_refused(camera, here, arguments, code, message):
    pytest.importorskip("cv2")
    told = camera(*arguments)
    assert told[0] == code
    assert message in told[2]
    assert list(here.iterdir()) == []


def test_without_opencv(camera, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    code, _, errors = camera()
    assert (code, "pip install 'toonbox[camera]'" in errors) == (1, True)


class Camera:
    """Takes four pictures, and is unplugged."""

    def __init__(self, index, max_height=None):
        self.closed = False

    def frames(self):
        yield from motion(4)
        raise VideoError("camera 0: sends no more pictures")

    def close(self):
        type(self).ended = True


class Window:
    """Closes after two pictures."""

    shown: list[np.ndarray]

    def __init__(self, title):
        type(self).shown, self.is_open = [], True

    def show(self, rgb):
        self.shown.append(rgb)

    def key(self):
        self.is_open = len(self.shown) < self.most
        return ""

    def tell(self, title):
        pass

    def close(self):
        type(self).ended = True


@pytest.mark.parametrize(("most", "code"), [(1, 0), (100, 1)])
def test_until_the_window_is_closed_or_the_camera_unplugged(camera, monkeypatch, most, code):
    pytest.importorskip("cv2")
    monkeypatch.setattr("toonbox.video.camera.Camera", Camera)
    monkeypatch.setattr("toonbox.video.window.Window", Window)
    Window.most = most
    Camera.ended = Window.ended = False
    ended, output, errors = camera()
    assert (ended, output) == (code, "")
    assert ("camera 0: sends no more pictures" in errors) == bool(code)
    assert Window.shown[0].shape == next(motion(1)).shape
    assert Camera.ended
    assert Window.ended


def test_help(capsys):
    with pytest.raises(SystemExit):
        main(["camera", "--help"])
    assert "--snapshots" in capsys.readouterr().out
