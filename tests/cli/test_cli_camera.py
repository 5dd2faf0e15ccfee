import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from toonbox.cli.main import main
from toonbox.errors import VideoError
from toonbox.video.pipeline import track_of
from toonbox.video.read import read_frames, read_video
from video_files import Clip, needs_ffmpeg, pictures, probe, times


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def camera(toonbox):
    return lambda *arguments: toonbox("camera", *arguments)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_a_video_into_a_sink(camera, here, suffix):
    Clip(pts=[0, 1, 2, 5, 6, 11], sound=None).make(here / "clip.mp4")
    sink = f"toon.{suffix}"
    arguments = ("--source", "clip.mp4", "--sink", sink, "--no-window")
    assert camera(*arguments) == (0, f"clip.mp4 -> {sink}\n", "")
    counted = ("-count_frames", "-show_entries", "stream=nb_read_frames,width,height")
    assert probe(sink, *counted) == ["64,48,6"]
    told = probe(sink, "-show_entries", "frame=pts_time")
    shown = [float(line.strip(",")) for line in told]
    assert shown == pytest.approx([n / 24 for n in (0, 1, 2, 5, 6, 11)], abs=6e-4)
    (length,) = probe(sink, "-show_entries", "format=duration")
    assert float(length) == pytest.approx(0.5, abs=2e-3)
    assert sorted(path.name for path in here.iterdir()) == sorted(["clip.mp4", sink])
    code, _, errors = camera(*arguments)
    assert (code, "exists already; --force" in errors) == (1, True)
    assert camera(*arguments, "--force")[0] == 0


def test_the_same_as_a_video(camera, toonbox, here):
    """As `toonbox clip.mp4` draws it, mirrored only if that is wanted."""
    Clip(size=(256, 192), pts=list(range(6)), sound=None).make(here / "clip.mp4")
    options = ("--compare", "side", "--max-height", "96", "--stabilize", "strong")
    assert toonbox("clip.mp4", "-o", "film.mkv", *options)[0] == 0
    sink = ("--source", "clip.mp4", "--no-window", *options, "--sink")
    assert camera(*sink, "plain.mkv")[0] == 0
    assert camera(*sink, "mirrored.mkv", "--mirror")[0] == 0
    film, plain, mirrored = (pictures(f"{n}.mkv") for n in ("video", "plain", "mirrored"))
    np.testing.assert_array_equal(plain, film)
    turned = np.concatenate([film[:, :, :128][:, :, ::-1], film[:, :, 128:][:, :, ::-1]], axis=2)
    assert np.abs(turned.astype(int) - mirrored).mean() < 6


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--no-window"], 2, "--no-window leaves nothing to do"),
        (["--source", "clip.mp4", "--camera", "0"], 2, "--source takes the place of --camera"),
        (["--source", "clip.mp4", "--sink", "a.avi", "--no-window"], 2, "cannot write"),
        (["--source", "clip.mp4", "--sink", "a.gif", "--no-window"], 2, "a recording is .mp4"),
        (["--sink", "a.mp4", "--no-window", "--snapshots", "."], 2, "--snapshots is for"),
        (["--camera", "-1"], 2, "--camera"),
        (["--source", "none.mp4", "--sink", "a.mp4", "--no-window"], 1, "no such file"),
        (["--source", "clip.mp4", "--sink", "a.mp4", "--surface", "1"], 2, "has no knob"),
        (["--source", "clip.mp4", "--sink", "a.mp4"], 1, "shows no windows"),
        (["--camera", "99", "--sink", "a.mp4", "--no-window"], 1, "camera 99: "),
    ],
)
def test_what_is_refused(camera, here, arguments, code, message):
    cv2 = pytest.importorskip("cv2")
    if "shows no windows" in message and cv2.currentUIFramework():
        pytest.skip("this OpenCV has windows")
    Clip(pts=[0, 1]).make(here / "clip.mp4")
    told = camera(*arguments)
    assert told[0] == code
    assert message in told[2]
    assert [path.name for path in here.iterdir()] == ["clip.mp4"]


def test_without_opencv(camera, here, monkeypatch):
    Clip(pts=[0, 1]).make(here / "clip.mp4")
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr("toonbox.video.steadying.find_spec", lambda name: None)
    for arguments in (["--source", "clip.mp4"], ["--sink", "a.mp4", "--no-window"]):
        code, _, errors = camera(*arguments)
        assert (code, "pip install 'toonbox[camera]'" in errors) == (1, True)
    code, output, errors = camera("--source", "clip.mp4", "--sink", "a.mp4", "--no-window")
    assert (code, output) == (0, "clip.mp4 -> a.mp4\n")
    assert "pip install 'toonbox[steady]'" in errors


class Camera:
    """Takes the pictures that it is given."""

    def __init__(self, index, max_height=None):
        self.video = read_video(Path("clip.mp4"))
        self.track = track_of(self.video, self.video.size)

    def frames(self):
        for frame in read_frames(self.video):
            yield frame
            time.sleep(0.05)
        raise VideoError("camera 0: gives no more pictures")

    def close(self):
        pass


class Window:
    """Closes after some time."""

    def __init__(self, title):
        self.looks, self.is_open = 0, True

    def show(self, rgb):
        self.looks += 1

    def key(self):
        self.is_open = self.looks < 2
        return ""

    def tell(self, title):
        pass

    def close(self):
        pass


def test_a_camera_that_is_unplugged(camera, here, monkeypatch):
    Clip(pts=list(range(4)), sound=None).make(here / "clip.mp4")
    monkeypatch.setattr("toonbox.video.camera.Camera", Camera)
    code, output, errors = camera("--sink", "a.mp4", "--no-window")
    assert (code, output) == (1, "camera 0 -> a.mp4\n")
    assert "gives no more pictures" in errors
    assert 1 <= len(times("a.mp4")) <= 4


def test_a_video_in_a_window(camera, here, monkeypatch):
    Clip(pts=list(range(48)), sound=None).make(here / "clip.mp4")
    monkeypatch.setattr("toonbox.video.window.Window", Window)
    assert camera("--source", "clip.mp4", "--sink", "a.mp4")[0] == 0
    assert len(times("a.mp4")) == 2
    assert camera("--source", "clip.mp4") == (0, "", "")


@pytest.mark.slow
def test_ctrl_c_finishes_the_sink(style_folder, here):
    clip = Clip(pts=list(range(24 * 20)), size=(320, 240), sound=None).make(here / "clip.mp4")
    process = subprocess.Popen(
        [sys.executable, "-m", "toonbox", "camera", "--source", "clip.mp4", "--sink", "a.mkv",
         "--no-window", "--style", str(style_folder)],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    while process.poll() is None:
        if any(path.stat().st_size for path in here.glob(".toonbox-*.mkv")):
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert (process.returncode, output, errors) == (0, "clip.mp4 -> a.mkv\n", "")
    ours = [float(at) for at, _ in times(here / "a.mkv")]
    assert 0 < len(ours) < 480
    assert ours == pytest.approx([float(at) for at, _ in times(clip)][: len(ours)], abs=1e-3)


def test_help(capsys):
    with pytest.raises(SystemExit):
        main(["camera", "--help"])
    assert "--source" in capsys.readouterr().out
