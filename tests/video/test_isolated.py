import os
import signal
from functools import partial
from multiprocessing.context import SpawnProcess

import numpy as np
import pytest

from toonbox.engine.style import load_style
from toonbox.errors import VideoError
from toonbox.options import OutputOptions, StyleOptions, VideoOptions
from toonbox.video.isolated import run_isolated
from toonbox.video.pipeline import cartoonize_video, convert_video
from video_files import REPEATABLE, Clip, pictures

DEFAULTS = StyleOptions(), OutputOptions(), VideoOptions()


def convert_apart(clip, target, load, options=DEFAULTS, **asked):
    return run_isolated(str(clip), convert_video, clip, target, load, options, **asked)


def never():
    return False


def nothing(_):
    pass


@pytest.fixture
def load(tiny_style, tmp_path_factory):
    return partial(load_style, tiny_style(to=tmp_path_factory.mktemp("styles")))


def test_it_does_the_same(tmp_path, load, caplog):
    clip = Clip(size=REPEATABLE, attachment=b"font").make(tmp_path / "clip.mkv")
    told, told_apart = [], []
    options = StyleOptions(strength=0.5), OutputOptions(), VideoOptions()
    here, apart = tmp_path / "here.mp4", tmp_path / "apart.mp4"
    result = cartoonize_video(clip, here, style=load(), progress=told.append, strength=0.5)
    messages = [*caplog.messages]
    caplog.clear()
    other = convert_apart(clip, apart, load, options, progress=told_apart.append, stop=never)
    assert other == result
    assert told_apart == told
    assert caplog.messages == messages != []
    np.testing.assert_array_equal(pictures(apart), pictures(here))


def test_stopped(tmp_path, load):
    clip = Clip(pts=list(range(240))).make(tmp_path / "clip.mp4")
    told = []
    target = tmp_path / "toon.mp4"
    result = convert_apart(clip, target, load, progress=told.append, stop=lambda: bool(told))
    assert (result.complete, result.written) == (False, False)
    assert [*tmp_path.iterdir()] == [clip]


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_crash_names_the_video(tmp_path):
    clip, target = tmp_path / "clip.mp4", tmp_path / "toon.mp4"
    with pytest.raises(VideoError, match=r"clip\.mp4: the process .* has ended: SIGSEGV"):
        convert_apart(clip, target, crash, progress=nothing, stop=never)


def test_errors_come_through(tmp_path, load):
    clip, target = tmp_path / "gone.mp4", tmp_path / "toon.mp4"
    with pytest.raises(VideoError, match=r"gone\.mp4: no such file"):
        convert_apart(clip, target, load, progress=nothing, stop=never)


def test_an_error_here_stops_the_other_process(tmp_path, load):
    clip = Clip(pts=list(range(240))).make(tmp_path / "clip.mp4")

    def bad(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_apart(clip, tmp_path / "toon.mp4", load, progress=bad, stop=never)
    assert [*tmp_path.iterdir()] == [clip]


def seven(progress, stop):
    return 7


def test_signals_wait_while_the_other_process_starts(monkeypatch, tmp_path):
    """Ctrl-C in a terminal is sent to both, and would end it before it knows better."""
    masks, start = [], SpawnProcess.start

    def watched(process):
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        start(process)

    monkeypatch.setattr(SpawnProcess, "start", watched)
    assert run_isolated("x", seven, progress=nothing, stop=never) == 7
    assert masks[0] >= {signal.SIGINT, signal.SIGTERM}
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGINT, signal.SIGTERM}
