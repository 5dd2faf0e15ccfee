import json
import multiprocessing
import os
import pty
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import typer
from PIL import Image

import signalling
from picture_files import OddError
from signalling import AT, at_sixth
from toonbox.cli.options import parse_time
from toonbox.engine.style import load_style
from toonbox.video import pipeline
from toonbox.video.write import SegmentWriter
from video_files import REPEATABLE, Clip, pictures, times


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_a_video(toonbox, here):
    clip = Clip().make(here / "clip.mp4")
    assert toonbox("clip.mp4") == (0, "clip.mp4 -> clip.toon.mp4\n", "")
    assert times(here / "clip.toon.mp4") == times(clip)
    code, _, errors = toonbox("clip.mp4")
    assert (code, "exists already" in errors) == (1, True)
    assert toonbox("clip.mp4", "--force")[0] == 0


def test_stabilize(toonbox, here, monkeypatch):
    """Without OpenCV: said once if nobody asked for steadiness, and an error if somebody did."""
    for name in ("a.mkv", "b.mkv"):
        Clip(size=REPEATABLE, pts=list(range(4)), sound=None).make(here / name)
    shown = {}
    for setting in ("off", "on", "strong", None):
        options = ("--stabilize", setting) if setting else ()
        assert toonbox("a.mkv", "-o", f"{setting}.mkv", *options)[::2] == (0, "")
        shown[setting] = pictures(here / f"{setting}.mkv")
    np.testing.assert_array_equal(shown[None], shown["on"])
    for other in ("off", "strong"):
        assert not np.array_equal(shown["on"], shown[other])
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr("toonbox.video.steadying.find_spec", lambda name: None)
    code, _, errors = toonbox("a.mkv", "b.mkv", "-o", "out")
    assert (code, errors.count("pip install 'toonbox[steady]'")) == (0, 1)
    np.testing.assert_array_equal(pictures(here / "out" / "a.toon.mkv"), shown["off"])
    code, _, errors = toonbox("a.mkv", "b.mkv", "-o", "new", "--stabilize", "strong")
    assert (code, errors.count("pip install 'toonbox[steady]'")) == (1, 1)
    assert toonbox("a.mkv", "-o", "quiet.mkv", "--stabilize", "off")[::2] == (0, "")


def test_options_for_videos(toonbox, here):
    Clip().make(here / "clip.mov")
    code, output, _ = toonbox(
        "clip.mov", "-o", "out/a.mkv", "--start", "0:00.25", "--end", "0.5", "--max-height", "24",
        "--codec", "vp9", "--crf", "40", "--encoder-preset", "8", "--compare", "side", "--json",
        "--metadata", "strip", "--jobs", "1",
    )  # fmt: skip
    assert code == 0
    told = json.loads(output)
    assert told.pop("seconds") > 0
    assert told == {
        "input": "clip.mov", "output": "out/a.mkv", "status": "ok", "width": 64, "height": 24,
        "error": None,
    }  # fmt: skip
    with av.open("out/a.mkv") as container:
        assert container.streams.video[0].codec_context.name == "vp9"
    assert pictures("out/a.mkv").shape == (6, 24, 64, 3)


def test_another_format(toonbox, here):
    Clip(pts=[0, 1]).make(here / "clip.avi")
    assert toonbox("clip.avi", "--format", "webm")[1] == "clip.avi -> clip.toon.webm\n"


def test_pictures_and_videos_of_a_folder(toonbox, here):
    (here / "album" / "deeper").mkdir(parents=True)
    Clip(pts=[0, 1]).make(here / "album" / "deeper" / "clip.mp4")
    (here / "album" / "broken.mkv").write_bytes(b"no video")
    Image.new("RGB", (16, 12)).save(here / "album" / "photo.png")
    code, output, errors = toonbox("album", "-o", "out")
    assert code == 1
    assert output.splitlines() == [
        "album/photo.png -> out/photo.toon.png",
        "album/deeper/clip.mp4 -> out/deeper/clip.toon.mp4",
    ]
    assert "broken.mkv: is no video, or damaged" in errors
    assert "2 done, 1 failed" in errors
    code, output, errors = toonbox("album", "-o", "out", "--json")
    statuses = sorted(json.loads(line)["status"] for line in output.splitlines())
    assert statuses == ["failed", "skipped", "skipped"]


def odd_once(*arguments, **options):
    """Load a style; in the first process that has a video of its own, raise what nobody foresaw."""
    if multiprocessing.parent_process() and not Path("odd").exists():
        Path("odd").touch()
        raise OddError("odd")
    return load_style(*arguments, **options)


def test_one_that_nobody_foresaw_does_not_end_the_others(toonbox, here, monkeypatch):
    monkeypatch.setattr("toonbox.engine.style.load_style", odd_once)
    for name in ("a.mp4", "b.mp4"):
        Clip(pts=[0, 1]).make(here / name)
    code, output, errors = toonbox("a.mp4", "b.mp4", "--debug")
    assert (code, output) == (1, "b.mp4 -> b.toon.mp4\n")
    assert "in odd_once" in errors  # the traceback, from the other process
    assert errors.endswith("toonbox: a.mp4: unexpected OddError: odd\n1 done, 1 failed\n")


@pytest.mark.parametrize("seconds", ["0", "0:00.5", "0.97"])
def test_a_preview(toonbox, here, seconds):
    Clip(aspect=2).make(here / "clip.mp4")
    assert toonbox("clip.mp4", "--preview", seconds)[1] == "clip.mp4 -> clip.toon.png\n"
    assert Image.open("clip.toon.png").size == (128, 48)
    assert names(here) == ["clip.mp4", "clip.toon.png"]
    assert "exists already" in toonbox("clip.mp4", "--preview", seconds)[2]


def test_a_preview_refuses_what_it_does_not_use_and_is_reported_as_json(toonbox, here):
    Clip(pts=[0, 1]).make(here / "clip.mp4")
    code, output, errors = toonbox("clip.mp4", "--preview", "0", "--encoder-preset", "fast")
    assert (code, output) == (2, "")
    assert "--encoder-preset does not apply to --preview" in errors
    told = json.loads(toonbox("clip.mp4", "--preview", "0", "--json")[1])
    assert (told["output"], told["width"], told["height"]) == ("clip.toon.png", 64, 48)


def test_a_preview_of_extreme_pixels(toonbox, here):
    narrow = Clip(pts=[0, 1], size=(16, 48), aspect=Fraction(1, 15), sound=None)
    narrow.make(here / "narrow.mp4")
    assert toonbox("narrow.mp4", "--preview", "0", "--max-height", "12")[0] == 0
    assert Image.open("narrow.toon.png").size == (1, 12)
    Clip(pts=[0, 1], aspect=Fraction(40), sound=None).make(here / "wide.mp4")
    code, _, errors = toonbox("wide.mp4", "--preview", "0", "--max-pixels", "100000")
    assert code == 1
    assert "wide.mp4: has frames of 2560 x 48 larger than the limit of 100,000" in errors
    assert toonbox("wide.mp4", "--preview", "0")[0] == 0
    assert Image.open("wide.toon.png").size == (2560, 48)


def test_a_preview_shows_its_frame(toonbox, here):
    clip = Clip(sound=None, options={"crf": "1"}).make(here / "clip.mp4")
    (here / "previews").mkdir()
    toonbox("clip.mp4", "--preview", "0.5", "-o", "previews/", "--strength", "0")
    shown = np.asarray(Image.open("previews/clip.toon.png"), int)
    differences = np.abs(pictures(clip) - shown).mean(axis=(1, 2, 3))
    assert differences.argmin() == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clip.mp4", "--preview", "1:99:99:1"], "is not a time"),
        (["clip.mp4", "--preview", "7"], "no frame at 7 seconds"),
        (["clip.mp4", "--preview", "0", "-o", "a.jpg"], "a preview is a PNG picture"),
        (["clip.mp4", "clip.mp4", "--preview", "0"], "--preview takes one video"),
        (["photo.png", "--preview", "0"], "--preview takes one video"),
        (["photo.png", "--preview", "0", "--style", "missing"], "--preview takes one video"),
        (["photo.png", "--crf", "20"], "--crf is for videos"),
        (["photo.png", "--keep-partial"], "--keep-partial is for videos"),
        (["clip.mp4", "--quality", "80"], "--quality is for pictures"),
        (["clip.mp4", "--lossless"], "--lossless is for pictures"),
        (["clip.mp4", "--max-memory", "800M"], "--max-memory is for pictures"),
        (["clip.mp4", "-o", "a.avi"], "cannot write a video as .avi"),
        (["clip.mp4", "-o", "a.mp4", "--format", "webm"], "a.mp4 does not match --format webm"),
        (["clip.mp4", "--format", "webem"], "cannot write webem"),
        (["clip.mp4", "clip.mp4", "-o", "a.mp4"], "is one file"),
        (["clip.mp4", "--codec", "av1", "--crf", "99"], "--crf"),
        (["clip.mp4", "--start", "2", "--end", "1"], "--end later"),
        (["clip.mp4", "--start", "-1"], "-1"),
        (["clip.mp4", "--encoder-preset", "warp"], "no preset warp for h264"),
        (["sound.mp4"], "no such file"),
    ],
)
def test_what_is_refused(toonbox, here, arguments, message):
    Clip(pts=[0, 1]).make(here / "clip.mp4")
    Image.new("RGB", (16, 12)).save(here / "photo.png")
    code, _, errors = toonbox(*arguments)
    assert code in (1, 2)
    assert message in errors
    assert names(here) == ["clip.mp4", "photo.png"]


def test_times_as_typed():
    typed = {"90": 90, "1:30.5": 90.5, "1:00:01": 3601, "0": 0}
    assert {text: parse_time(text) for text in typed} == typed
    for text in ("", "x", "1:", "nan", "inf", "1:x", "-1", "1.5:00"):
        with pytest.raises(typer.BadParameter, match="is not a time"):
            parse_time(text)


def test_help_lists_them_apart(toonbox):
    code, output, _ = toonbox("cartoonize", "--help")
    assert code == 0
    before, after = output.split("Options for videos:")
    assert "--crf" in after
    assert "--crf" not in before
    assert "--quality" in before


def start(style_folder, *arguments, **settings):
    return subprocess.Popen(
        [sys.executable, "-m", "toonbox", *arguments, "--style", str(style_folder)],
        text=True,
        # Where the tests run in the background, children inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings},
    )


def signal_at_frame(patch, number):
    """Let this process send itself a signal once a few frames are written."""
    signalled = at_sixth(SegmentWriter.write, lambda: os.kill(os.getpid(), number))
    patch.setattr(SegmentWriter, "write", signalled)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("keep_partial", [False, True])
def test_ctrl_c_and_sigterm(toonbox, here, monkeypatch, keep_partial, number):
    clip = Clip().make(here / "clip.mp4")
    signal_at_frame(monkeypatch, number)
    code, output, _ = toonbox("clip.mp4", *(["--keep-partial"] if keep_partial else []))
    assert code == 128 + number
    if not keep_partial:
        assert names(here) == ["clip.mp4"]
        return
    assert names(here) == ["clip.mp4", "clip.toon.mp4"]
    assert output == "clip.mp4 -> clip.toon.mp4\n"
    shown = times(here / "clip.toon.mp4")
    assert AT <= len(shown) < 24
    assert shown[:-1] == times(clip)[: len(shown) - 1]


def test_ctrl_c_and_on(toonbox, here, monkeypatch):
    clip = Clip().make(here / "clip.mp4")
    with monkeypatch.context() as patch:
        signal_at_frame(patch, signal.SIGINT)
        assert toonbox("clip.mp4", "--resume")[0] == 130
    assert any(here.glob(".clip.toon.mp4.segments/*.mp4"))
    assert toonbox("clip.mp4", "--resume")[0] == 0
    assert names(here) == ["clip.mp4", "clip.toon.mp4"]
    assert [when for when, _ in times(here / "clip.toon.mp4")] == [when for when, _ in times(clip)]


def start_signalled(style_folder, number, *arguments):
    """Start the command in a process of its own, which sends itself a signal at a frame."""
    return subprocess.Popen(
        [
            *(sys.executable, signalling.__file__, str(int(number))),
            *(*arguments, "--style", style_folder),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_what_a_killed_run_left_goes_with_the_next_and_only_that(style_folder, toonbox, here):
    for name in ("killed", "stopped"):
        Clip().make(here / f"{name}.mp4")
    Clip(pts=[0, 1]).make(here / "short.mp4")
    killed = start_signalled(style_folder, signal.SIGKILL, "killed.mp4")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    (left,) = here.glob(".toonbox-*")
    # The next one removes what the first has left.
    stopped = start_signalled(style_folder, signal.SIGSTOP, "stopped.mp4")
    os.waitpid(stopped.pid, os.WUNTRACED)
    try:
        assert not left.exists()
        (own,) = here.glob(".toonbox-*")
        assert toonbox("short.mp4")[1] == "short.mp4 -> short.toon.mp4\n"
        assert list(here.glob(".toonbox-*")) == [own]
        stopped.send_signal(signal.SIGTERM)
    finally:
        stopped.send_signal(signal.SIGCONT)
    assert stopped.communicate() == ("", "")
    assert stopped.returncode == 143
    assert not list(here.glob(".toonbox-*"))


def crashing_once(*arguments, **options):
    """Load a style; the first process that has a video of its own ends there."""
    if multiprocessing.parent_process() and not Path("crashed").exists():
        Path("crashed").touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    return load_style(*arguments, **options)


def test_a_crash_is_one_videos_failure(toonbox, here, monkeypatch):
    monkeypatch.setattr("toonbox.engine.style.load_style", crashing_once)
    for name in ("a", "b"):
        Clip(pts=[0, 1]).make(here / f"{name}.mp4")
    code, output, errors = toonbox("a.mp4", "b.mp4")
    assert code == 1
    assert output == "b.mp4 -> b.toon.mp4\n"
    assert "toonbox: a.mp4: the process that read it has ended: SIGSEGV\n" in errors
    assert "1 done, 1 failed" in errors


def convert_and_interrupt(*arguments, stop, **options):
    """In the process of a video, press Ctrl-C in the first one, and wait for what it says."""

    def interrupt():
        os.kill(os.getppid(), signal.SIGINT)
        while not stop():
            time.sleep(0.01)

    SegmentWriter.write = at_sixth(SegmentWriter.write, interrupt)
    return pipeline.convert_video(*arguments, stop=stop, **options)


def test_ctrl_c_in_a_folder(toonbox, here, monkeypatch):
    monkeypatch.setattr(pipeline, "convert_video", convert_and_interrupt)
    for name in ("a.mp4", "b.mp4"):
        Clip().make(here / name)
    code, output, errors = toonbox("a.mp4", "b.mp4")
    assert (code, output) == (130, ""), errors
    assert names(here) == ["a.mp4", "b.mp4"]


def test_progress_on_a_terminal(style_folder, here):
    # Long enough for the bar to be drawn on the way, too: ten times a second.
    Clip(pts=list(range(120))).make(here / "[a]clip.mp4")
    ours, theirs = pty.openpty()
    process = start(style_folder, "[a]clip.mp4", stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:  # what Linux says when the other end is closed
            break
        if not data:
            break
        shown += data
    os.close(ours)
    assert process.wait() == 0
    assert process.stdout.read() == "[a]clip.mp4 -> [a]clip.toon.mp4\n"
    process.stdout.close()
    assert b"[a]clip.mp4" in shown
    assert b"fps" in shown
    assert b"120 frames, writing" in shown


def test_ten_bits(toonbox, here):
    """Unless told, cartoons of 10 bits are not stabilized; asked for both, it is refused."""
    Clip(pts=[0, 1], sound=None).make(here / "a.mkv")
    code, _, errors = toonbox("a.mkv", "--codec", "hevc", "--bits", "10")
    assert (code, "10-bit cartoons are not stabilized" in errors) == (0, True)
    with av.open(str(here / "a.toon.mkv")) as container:
        assert container.streams.video[0].codec_context.format.name == "yuv420p10le"
    both = ("--codec", "hevc", "--bits", "10", "--stabilize", "on")
    assert toonbox("a.mkv", "-o", "b.mkv", *both)[0] == 2


def animation(path, durations=(100, 10, 250)):
    frames = [Image.new("RGBA", (16, 12), colour) for colour in ("red", "lime", "blue")]
    for frame in frames:
        frame.paste((0, 0, 0, 0), (0, 0, 8, 6))
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=durations, disposal=2, loop=4
    )


def frames_of(path):
    with Image.open(path) as image:
        return [image.seek(number) or image.info["duration"] for number in range(image.n_frames)]


def test_videos_into_gif(toonbox, here):
    Clip(sound=None).make(here / "clip.mp4")
    assert toonbox("clip.mp4", "-o", "a.gif", "--start", "0.5") == (0, "clip.mp4 -> a.gif\n", "")
    assert sum(frames_of("a.gif")) == 500
    assert toonbox("clip.mp4", "--format", "gif")[1] == "clip.mp4 -> clip.toon.gif\n"
    assert sum(frames_of("clip.toon.gif")) == 1000
    code, _, errors = toonbox("clip.mp4", "-o", "b.gif", "--crf", "20")
    assert (code, "neither crf" in errors) == (2, True)


@pytest.mark.usefixtures("isolated_here")
def test_a_codec_that_one_of_several_cannot_hold(toonbox, here):
    for name in ("a.mov", "b.mp4"):
        Clip(pts=[0, 1], size=(64, 64)).make(here / name)
    code, output, errors = toonbox("a.mov", "b.mp4", "--codec", "vp9", "-o", "out")
    assert (code, output) == (1, "b.mp4 -> out/b.toon.mp4\n")
    assert "a.toon.mov cannot be written: .mov cannot hold vp9, only h264, hevc" in errors
    code, _, errors = toonbox("a.mov", "--codec", "vp9")
    assert (code, ".mov cannot hold vp9" in errors) == (2, True)


@pytest.mark.usefixtures("isolated_here")
def test_gif_into_videos(toonbox, here):
    animation(here / "a.gif")
    code, output, errors = toonbox("a.gif", "-o", "a.mp4", "--compare", "side")
    assert (code, output) == (0, "a.gif -> a.mp4\n")
    assert "transparent areas become white" in errors
    assert [float(at) for at, _ in times("a.mp4")] == pytest.approx([0, 0.1, 0.2])
    assert toonbox("a.gif", "--format", "webm")[1] == "a.gif -> a.toon.webm\n"
    (here / "album").mkdir()
    animation(here / "album" / "b.gif")
    told = toonbox("album", "--format", "mkv", "-o", "out")
    assert told[1] == "album/b.gif -> out/b.gif.toon.mkv\n"
    assert toonbox("a.gif", "--preview", "0.15")[1] == "a.gif -> a.toon.png\n"
    code, _, errors = toonbox("a.gif", "-o", "b.mp4", "--quality", "80")
    assert (code, "--quality is for pictures" in errors) == (2, True)


def test_gif_into_gif(toonbox, here):
    """As it was, unless something is asked for that only videos know."""
    animation(here / "a.gif")
    assert toonbox("a.gif", "--stabilize", "on", "-o", "film.gif")[0] == 0
    assert frames_of("film.gif") == [100, 100, 250]
    assert toonbox("a.gif", "--start", "0.1", "-o", "part.gif")[0] == 0
    assert frames_of("part.gif") == [100, 250]
    code, _, errors = toonbox("a.gif", "-o", "b.gif", "--crf", "20")
    assert (code, "--crf is for videos" in errors) == (2, True)
    assert toonbox("a.gif")[0] == 0
    with Image.open("a.toon.gif") as image:
        assert (image.info["loop"], image.info.get("transparency") is not None) == (4, True)
    assert frames_of("a.toon.gif") == [100, 10, 250]


@pytest.mark.usefixtures("isolated_here")
def test_gif_of_a_folder_stay_what_they_are(toonbox, here):
    (here / "album").mkdir()
    animation(here / "album" / "a.gif")
    Clip(sound=None).make(here / "album" / "clip.mp4")
    assert toonbox("album", "-o", "out", "--start", "0.5")[0] == 0
    assert frames_of("out/a.toon.gif") == [100, 10, 250]
    assert len(times("out/clip.toon.mp4")) == 12
