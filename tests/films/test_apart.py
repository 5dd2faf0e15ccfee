import os
import signal
from functools import partial

import numpy as np
import pytest

from toonbox.engine.style import load_style
from toonbox.errors import VideoError
from toonbox.video.isolated import cartoonize_video_apart
from toonbox.video.pipeline import cartoonize_video
from video_files import REPEATABLE, Clip, pictures


@pytest.fixture
def load(tiny_style, tmp_path_factory):
    return partial(load_style, tiny_style(to=tmp_path_factory.mktemp("styles")))


def test_it_does_the_same(tmp_path, load, caplog):
    clip = Clip(size=REPEATABLE, attachment=b"font").make(tmp_path / "clip.mkv")
    told, told_apart = [], []
    options = {"stop": lambda: False, "strength": 0.5}
    here, apart = tmp_path / "here.mp4", tmp_path / "apart.mp4"
    result = cartoonize_video(clip, here, style=load(), progress=told.append, **options)
    messages = [*caplog.messages]
    caplog.clear()
    other = cartoonize_video_apart(clip, apart, load, progress=told_apart.append, **options)
    assert other == result
    assert told_apart == told
    assert caplog.messages == messages != []
    np.testing.assert_array_equal(pictures(apart), pictures(here))


def test_stopped(tmp_path, load):
    clip = Clip(pts=list(range(240))).make(tmp_path / "clip.mp4")
    told = []
    result = cartoonize_video_apart(
        clip, tmp_path / "toon.mp4", load, progress=told.append, stop=lambda: bool(told)
    )
    assert (result.complete, result.written) == (False, False)
    assert [*tmp_path.iterdir()] == [clip]


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_crash_names_the_film(tmp_path):
    clip, target = tmp_path / "clip.mp4", tmp_path / "toon.mp4"
    with pytest.raises(VideoError, match=r"clip\.mp4: the process .* has ended: SIGSEGV"):
        cartoonize_video_apart(clip, target, crash, progress=lambda _: None, stop=lambda: False)


def test_errors_come_through(tmp_path, load):
    clip, target = tmp_path / "gone.mp4", tmp_path / "toon.mp4"
    with pytest.raises(VideoError, match=r"gone\.mp4: no such file"):
        cartoonize_video_apart(clip, target, load, progress=lambda _: None, stop=lambda: False)


def test_an_error_here_stops_the_other_process(tmp_path, load):
    clip = Clip(pts=list(range(240))).make(tmp_path / "clip.mp4")

    def bad(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cartoonize_video_apart(clip, tmp_path / "toon.mp4", load, progress=bad, stop=lambda: False)
    assert [*tmp_path.iterdir()] == [clip]
