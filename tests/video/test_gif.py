"""Videos into GIF, and GIF into videos; read by Pillow and ffprobe."""

import subprocess
import sys
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from toonbox.errors import UsageError, VideoError
from toonbox.video.pipeline import cartoonize_video
from toonbox.video.stylizer import frame_at, video_frames
from video_files import Clip, motion, needs_ffmpeg, pictures, probe, times


@pytest.fixture
def style(tiny_style, tmp_path_factory):
    return tiny_style(to=tmp_path_factory.mktemp("styles"))


def shown(path):
    """Let Pillow read a GIF: durations in hundredths, frames (N, H, W, 3)."""
    durations, frames = [], []
    with Image.open(path) as image:
        for number in range(image.n_frames):
            image.seek(number)
            durations.append(image.info["duration"] // 10)
            frames.append(np.asarray(image.convert("RGB")))
    return durations, np.stack(frames)


def steps(seconds):
    """Say when frames begin in hundredths, and how long each lasts, for the times of all ends."""
    places = [round(at * 100) for at in seconds]
    return [later - earlier for earlier, later in pairwise(places)]


UNEVEN = [15015, 16016, 17017, 19019, 19720, 25025, 26026, 26700]


@needs_ffmpeg
def test_times_without_drift(tmp_path, style, caplog):
    clip = Clip(pts=UNEVEN, last=1500, time_base=Fraction(1, 30000), rate=Fraction(30000, 1001))
    source = clip.make(tmp_path / "clip.mp4")
    result = cartoonize_video(source, tmp_path / "toon.gif", style=style)
    durations, frames = shown(tmp_path / "toon.gif")
    assert durations == steps([Fraction(pts - UNEVEN[0], 30000) for pts in [*UNEVEN, 28200]])
    assert len(frames) == result.frames == 8
    assert Image.open(tmp_path / "toon.gif").info["loop"] == 0
    (length,) = probe(tmp_path / "toon.gif", "-show_entries", "format=duration")
    assert float(length) == pytest.approx(0.44)
    assert "left out, as a GIF has none: sound" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "toon.gif"]


def test_colours(tmp_path, style):
    """Near to what is drawn, with the same palette for all frames."""
    clip = Clip(size=(96, 72), pts=list(range(12)), sound=None).make(tmp_path / "clip.mp4")
    cartoonize_video(clip, tmp_path / "toon.gif", style=style)
    _, frames = shown(tmp_path / "toon.gif")
    drawn = np.stack([frame.cartoon for frame in video_frames(clip, style=style)])
    assert np.abs(frames.astype(int) - drawn).mean() < 8
    assert np.abs((frames.astype(int) - drawn).mean(axis=(1, 2, 3))).max() < 2
    assert len(np.unique(frames.reshape(-1, 3), axis=0)) <= 255


def test_sixty_frames_a_second(tmp_path, style, caplog):
    """Browsers would show what lasts for a hundredth for ten: such frames are left out."""
    clip = Clip(pts=list(range(60)), time_base=Fraction(1, 60), rate=Fraction(60), sound=None)
    source = clip.make(tmp_path / "clip.mp4")
    cartoonize_video(source, tmp_path / "toon.gif", style=style)
    durations, _ = shown(tmp_path / "toon.gif")
    assert sum(durations) == 100
    assert min(durations) == 2
    assert f"{60 - len(durations)} frames are left out" in caplog.text


def test_two_hundred_and_forty_frames_a_second(tmp_path, style):
    """The second frame's time, too, rounds to zero."""
    clip = Clip(pts=list(range(12)), time_base=Fraction(1, 240), rate=Fraction(240), sound=None)
    cartoonize_video(clip.make(tmp_path / "clip.mp4"), tmp_path / "toon.gif", style=style)
    assert shown(tmp_path / "toon.gif")[0] == [2, 3]


def test_a_single_frame_and_a_long_one(tmp_path, style, caplog):
    clip = Clip(pts=[0], last=1, time_base=Fraction(1, 200), sound=None)
    cartoonize_video(clip.make(tmp_path / "one.mkv"), tmp_path / "one.gif", style=style)
    assert len(shown(tmp_path / "one.gif")[1]) == 1
    clip = Clip(pts=[0, 700, 702], time_base=Fraction(1), rate=Fraction(1), sound=None)
    cartoonize_video(clip.make(tmp_path / "long.mp4"), tmp_path / "long.gif", style=style)
    assert shown(tmp_path / "long.gif")[0] == [65535, 200, 100]
    assert "no frame longer than 655.35 s" in caplog.text


def test_a_part_beside_its_video_with_square_pixels(tmp_path, style):
    clip = Clip(aspect=Fraction(2), sound=None).make(tmp_path / "clip.mp4")
    options = {"start": 0.25, "end": 0.75, "max_height": 24, "compare": "side"}
    result = cartoonize_video(clip, tmp_path / "part.gif", style=style, **options)
    durations, frames = shown(tmp_path / "part.gif")
    assert frames.shape == (12, 24, 128, 3)
    assert result.size == (64, 24)
    assert sum(durations) == 50


@pytest.mark.parametrize("compare", [None, "side"])
def test_pixels_so_wide_that_square_ones_are_too_many(tmp_path, style, compare):
    clip = Clip(pts=[0, 1], aspect=Fraction(40), sound=None).make(tmp_path / "clip.mp4")
    options = {"style": style, "compare": compare, "max_pixels": 100_000}
    width = 2560 if compare is None else 5120
    message = rf"clip\.mp4: has frames of {width} x 48 larger than the limit of 100,000 pixels"
    with pytest.raises(VideoError, match=message):
        cartoonize_video(clip, tmp_path / "toon.gif", **options)
    assert list(tmp_path.iterdir()) == [clip]
    cartoonize_video(clip, tmp_path / "toon.mkv", **options)


def test_pixels_so_narrow_that_nothing_would_be_left(tmp_path, style):
    narrow = Clip(pts=[0, 1], size=(16, 48), aspect=Fraction(1, 15), sound=None)
    clip = narrow.make(tmp_path / "clip.mp4")
    cartoonize_video(clip, tmp_path / "toon.gif", style=style, max_height=12)
    assert shown(tmp_path / "toon.gif")[1].shape[1:] == (12, 1, 3)


def test_resumed(tmp_path, style, monkeypatch):
    monkeypatch.setattr("toonbox.video.pipeline.KEPT_LENGTH", 5)
    clip = Clip(sound=None).make(tmp_path / "clip.mp4")
    cartoonize_video(clip, tmp_path / "whole.gif", style=style)
    done = []
    result = cartoonize_video(
        clip, tmp_path / "toon.gif", style=style, resume=True,
        progress=done.append, stop=lambda: len(done) == 12,
    )  # fmt: skip
    assert not result.written
    seen = len(done)
    cartoonize_video(clip, tmp_path / "toon.gif", style=style, resume=True, progress=done.append)
    assert seen < done[-1].frames == 24
    assert done[-1].new < 24
    for ours, whole in zip(*(shown(tmp_path / f"{n}.gif") for n in ("toon", "whole")), strict=True):
        np.testing.assert_array_equal(ours, whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "clip.mp4", "toon.gif", "whole.gif"
    ]  # fmt: skip


def test_stopped_in_the_middle(tmp_path, style):
    clip = Clip(sound=None).make(tmp_path / "clip.mp4")
    done = []
    result = cartoonize_video(
        clip, tmp_path / "toon.gif", style=style, keep_partial=True,
        progress=done.append, stop=lambda: len(done) == 6,
    )  # fmt: skip
    assert (result.written, result.complete) == (True, False)
    durations, frames = shown(tmp_path / "toon.gif")
    assert (len(frames), sum(durations)) == (6, 25)


@pytest.mark.parametrize(
    "options", [{"crf": 20}, {"encoder_preset": "fast"}, {"codec": "h264"}, {"codec": "vp9"}]
)
def test_a_gif_is_not_encoded_like_videos(tmp_path, style, options):
    clip = Clip(pts=[0, 1]).make(tmp_path / "clip.mp4")
    with pytest.raises(UsageError, match=r"gif|GIF"):
        cartoonize_video(clip, tmp_path / "toon.gif", style=style, **options)
    with pytest.raises(UsageError, match=r"cannot hold gif|codec must be one of"):
        cartoonize_video(clip, tmp_path / "toon.mp4", style=style, codec="gif")
    assert list(tmp_path.iterdir()) == [clip]


MEMORY = """
import resource, sys
from fractions import Fraction
from pathlib import Path
import av
import numpy as np
from toonbox.video import gif as gif_film
from toonbox.video.read import read_video
from toonbox.video.write import Segment

count = int(sys.argv[2])

def decoded(segments):
    rgb = np.zeros((480, 640, 3), np.uint8)
    for number in range(count):
        rgb[number] = 255
        yield av.VideoFrame.from_ndarray(rgb, "rgb24"), Fraction(number, 25)

gif_film._decoded = decoded
video = read_video(Path(sys.argv[1]))
times = (Fraction(number, 25) for number in (0, count - 1, count))
segments = [Segment(Path(), count, *times)]
gif_film.write_gif(Path(sys.argv[1]).with_suffix(".gif"), segments, video)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="others count memory in other units")
def test_memory_does_not_grow_with_the_video(tmp_path):
    """In megabytes; a frame has 1.2 of them."""
    clip = Clip(pts=[0], sound=None).make(tmp_path / "clip.mp4")
    used = []
    for count in (20, 220):
        command = [sys.executable, "-c", MEMORY, str(clip), str(count)]
        used.append(int(subprocess.run(command, capture_output=True, check=True).stdout))
    assert used[1] - used[0] < 60


DURATIONS = [100, 0, 10, 70, 250]
BROWSERS = [0.0, 0.1, 0.2, 0.3, 0.37, 0.62]  # 0 and 10 ms are taken for 100


def make_gif(path, transparent=False, size=(40, 30), durations=DURATIONS):
    """Write a GIF of real motion, with a transparent corner if that is wanted."""
    frames = [Image.fromarray(rgb).convert("RGBA") for rgb in motion(len(durations), size)]
    if transparent:
        for frame in frames:
            frame.paste((0, 0, 0, 0), (0, 0, 20, 15))
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=durations, disposal=2, loop=3
    )
    return path


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv"])
def test_a_gif_becomes_a_video(tmp_path, style, suffix):
    source = make_gif(tmp_path / "clip.gif")
    target = tmp_path / f"toon{suffix}"
    cartoonize_video(source, target, style=style)
    told = probe(target, "-show_entries", "frame=pts_time")
    assert [float(line.strip(",")) for line in told] == pytest.approx(BROWSERS[:-1])
    (length,) = probe(target, "-show_entries", "format=duration")
    assert float(length) == pytest.approx(BROWSERS[-1])


def test_pictures_of_a_gif(tmp_path, style):
    source = make_gif(tmp_path / "clip.gif")
    _, wanted = shown(source)
    seen = list(video_frames(source, style=style))
    np.testing.assert_array_equal(np.stack([frame.photo for frame in seen]), wanted)
    assert [float(frame.seconds) for frame in seen] == pytest.approx(BROWSERS[:-1])
    cartoonize_video(source, tmp_path / "toon.mp4", style=style, strength=0, crf=1)
    assert np.abs(pictures(tmp_path / "toon.mp4").astype(int) - wanted).mean() < 6


def test_what_is_transparent_becomes_white(tmp_path, style, caplog):
    source = make_gif(tmp_path / "clip.gif", transparent=True)
    for frame in video_frames(source, style=style):
        assert (frame.photo[:15, :20] == 255).all()
    assert caplog.text.count("transparent areas become white") == 1


def test_parts_of_a_gif(tmp_path, style):
    source = make_gif(tmp_path / "clip.gif")
    cartoonize_video(source, tmp_path / "part.gif", style=style, start=0.2, end=0.35)
    assert shown(tmp_path / "part.gif")[0] == [10, 5]
    cartoonize_video(source, tmp_path / "part.mp4", style=style, start=0.2)
    assert [float(at) for at, _ in times(tmp_path / "part.mp4")] == pytest.approx([0, 0.1, 0.17])
    wanted = shown(source)[1]
    for seconds, index in ((0, 0), (0.15, 1), (0.31, 3), (0.6, 4)):
        np.testing.assert_array_equal(frame_at(source, seconds)[0], wanted[index])
    with pytest.raises(VideoError, match=r"no frame at 0\.7"):
        frame_at(source, 0.7)


def test_a_gif_of_short_frames_has_its_last(tmp_path):
    """The file says that all is over long before browsers are through."""
    source = make_gif(tmp_path / "clip.gif", durations=[10] * 5)
    np.testing.assert_array_equal(frame_at(source, 0.45)[0], shown(source)[1][-1])


def test_a_damaged_gif(tmp_path, style):
    whole = make_gif(tmp_path / "clip.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(whole[: len(whole) // 20])
    (tmp_path / "text.gif").write_text("GIF? no")
    for name in ("cut.gif", "text.gif"):
        with pytest.raises(VideoError, match=name):
            cartoonize_video(tmp_path / name, tmp_path / "toon.mp4", style=style)
    assert not (tmp_path / "toon.mp4").exists()
