"""The loop, with a screen, a clock and frames of our own."""

from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from toonbox.engine.style import load_style
from toonbox.errors import OutputError, StyleError, UsageError, VideoError
from toonbox.options import StyleOptions
from toonbox.video.camera import Artist, Newest, Pace, Recording, Show, Showing, paced, play
from toonbox.video.read import Frame, FrameColours
from toonbox.video.write import Track
from video_files import motion, needs_ffmpeg, probe, times

PHOTO = next(motion(1))
TRACK = Track((64, 48), Fraction(1, 90_000), None, Fraction(1), FrameColours(1, 1, 1, 1))


class Screen:
    """Presses keys one after the other, and is closed when there are no more."""

    def __init__(self, keys, stays_open=True):
        self.keys, self.stays_open = iter(keys), stays_open
        self.shown, self.titles = [], []
        self.is_open = True

    def show(self, rgb):
        self.shown.append(rgb)

    def key(self):
        key = next(self.keys, None)
        if key is None and not self.stays_open:
            self.is_open = False
        return key or ""

    def tell(self, title):
        self.titles.append(title)


class Frames:
    """Gives each frame when it is asked for, as if it had just been taken; None for none."""

    def __init__(self, frames):
        self.waiting = list(frames)

    @property
    def ended(self):
        return not self.waiting

    def take(self, seconds):
        taken = self.waiting.pop(0)
        if isinstance(taken, Exception):
            raise taken
        return taken


@pytest.fixture
def load(tiny_style, tmp_path_factory):
    folder = tmp_path_factory.mktemp("styles")
    made = {name: tiny_style(name, seed, to=folder) for seed, name in enumerate("ab")}

    def load(name):
        if name not in made:
            raise StyleError(f"no style {name}")
        return load_style(made[name], threads=1)

    return load


@pytest.fixture
def artist(load):
    return Artist(load, "a", StyleOptions())


def frames(count, step=3000):
    return [Frame(rgb, 5_000_000 + step * n, 0) for n, rgb in enumerate(motion(count))]


def test_what_is_shown(artist, load):
    screen = Screen([])
    Show(artist, Showing(), screen).run(Frames([None, *frames(3), None]))
    assert len(screen.shown) == 3
    style = load("a")
    for shown, frame in zip(screen.shown, frames(3), strict=True):
        np.testing.assert_array_equal(shown, style(frame.photo))


def test_mirrored_and_compared(artist):
    (plain,) = (Showing().picture(PHOTO, artist(PHOTO)),)
    np.testing.assert_array_equal(Showing(mirror=True).picture(PHOTO, plain), plain[:, ::-1])
    both = Showing(mirror=True, compare="side").picture(PHOTO, plain)
    np.testing.assert_array_equal(both, np.hstack([PHOTO[:, ::-1], plain[:, ::-1]]))


def test_rate_in_the_title(artist):
    now = iter(range(100))
    screen = Screen([])
    Show(artist, Showing(), screen, clock=lambda: next(now) / 4).run(Frames(frames(3)))
    assert screen.titles == ["toonbox: a", "toonbox: a, 4.0 fps"]
    screen = Screen([])
    Show(artist, Showing(), screen, rate=False).run(Frames(frames(3)))
    assert screen.titles == ["toonbox: a"]


@pytest.mark.parametrize("screen", [Screen(["", "q"]), Screen([""], stays_open=False)])
def test_an_end(artist, screen):
    show = Show(artist, Showing(), screen)
    show.run(Frames(frames(9)))
    assert show.shown == 2


def test_stop(artist):
    show = Show(artist, Showing())
    show.run(Frames(frames(9)), stop=lambda: show.shown == 4)
    assert show.shown == 4


def test_pause(artist):
    screen, pace = Screen(["", " ", "", "", " ", ""]), Pace()
    held = []
    pace.pause, pace.go_on = (lambda: held.append(screen.titles[-1])), (lambda: held.append("on"))
    show = Show(artist, Showing(), screen, pace=pace, rate=False)
    waiting = Frames(frames(4))
    show.run(waiting)
    # Two before the pause, which three looks at the keys last; the others after it.
    assert show.shown == 4
    assert screen.titles == ["toonbox: a", "toonbox: a, paused", "toonbox: a"]
    assert held == ["toonbox: a", "on"]


def test_snapshots(artist, tmp_path, caplog):
    told = []
    screen = Screen(["s", "", "s"])
    show = Show(artist, Showing(), screen, snapshots=tmp_path / "new", tell=told.append)
    show.run(Frames([None, *frames(2)]))
    (saved,) = (tmp_path / "new").iterdir()
    assert told == [str(saved)]
    assert saved.name.startswith("toon-")
    np.testing.assert_array_equal(np.asarray(Image.open(saved)), screen.shown[-1])
    (tmp_path / "file").write_text("")
    show = Show(artist, Showing(), Screen(["s"]), snapshots=tmp_path / "file")
    show.run(Frames(frames(2)))
    assert show.shown == 2
    assert "cannot be written" in caplog.text


def test_digits_change_the_style(artist, load, caplog):
    screen = Screen(["2", "3", "9", "1"])
    show = Show(artist, Showing(), screen, styles=["a", "b", "gone"], rate=False)
    show.run(Frames(frames(5)))
    names = ["a", "b", "b", "b", "a"]
    for shown, frame, name in zip(screen.shown, frames(5), names, strict=True):
        np.testing.assert_array_equal(shown, load(name)(frame.photo))
    assert screen.titles == ["toonbox: a", "toonbox: b", "toonbox: a"]
    assert "no style gone" in caplog.text


def test_an_artist_says_at_once_what_is_wrong(load):
    with pytest.raises(UsageError, match="has no knob surface"):
        Artist(load, "a", StyleOptions(surface=1.0))
    steady = Artist(load, "a", StyleOptions(), "strong")
    first, second = (frame.photo for frame in frames(2))
    np.testing.assert_array_equal(steady(first), load("a")(first))
    assert not np.array_equal(steady(second), load("a")(second))


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_recording_has_the_times_of_the_frames(artist, tmp_path, suffix):
    taken = [0, 3000, 12_000, 13_000, 40_000]
    photos = [Frame(rgb, 777_000 + at, 0) for rgb, at in zip(motion(5), taken, strict=True)]
    target = tmp_path / f"deeper/out{suffix}"
    show = Show(artist, Showing(compare="side"))
    with Recording(target, TRACK) as recording:
        show.record = recording.add
        show.run(Frames(photos))
        assert not target.exists()
    told = probe(target, "-show_entries", "frame=pts_time", "-select_streams", "v")
    shown = [float(line.strip(",")) for line in told]
    assert shown == pytest.approx([at / 90_000 for at in taken], abs=6e-4)
    # The last is shown for as long as the one before.
    (length,) = probe(target, "-show_entries", "format=duration")
    assert float(length) == pytest.approx(67_000 / 90_000, abs=2e-3)
    (size,) = probe(target, "-show_entries", "stream=width,height")
    assert size == "128,48"


def test_without_a_picture_there_is_no_recording(tmp_path):
    with Recording(tmp_path / "out.mp4", TRACK):
        pass
    with Recording(tmp_path / "one.mp4", TRACK) as recording:
        recording.add(PHOTO, 5)
    with suppress(KeyError), Recording(tmp_path / "two.mp4", TRACK) as recording:
        recording.add(PHOTO, 5)
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["one.mp4"]
    assert times(tmp_path / "one.mp4") == [(0, Fraction(1, 25))]


def test_an_unplugged_camera_leaves_its_recording(artist, tmp_path):
    def taken():
        yield from frames(1)
        raise VideoError("camera 0: gives no more pictures")

    show = Show(artist, Showing())
    lost = play(show, taken(), Recording(tmp_path / "out.mkv", TRACK), lambda: False)
    assert "no more pictures" in str(lost)
    assert len(times(tmp_path / "out.mkv")) == show.shown == 1


def test_a_recording_that_cannot_be_written(artist, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        play(
            Show(artist, Showing()), iter(frames(2)),
            Recording(tmp_path / "file" / "out.mkv", TRACK), lambda: False,
        )  # fmt: skip


class Clock:
    """Goes on only while somebody sleeps."""

    def __init__(self, then=None):
        self.now, self.then = 100.0, then

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        if self.then:
            self.then(self.now)


def test_a_video_at_its_own_pace():
    clock = Clock()
    shown = [
        (clock.now, frame.pts)
        for frame in paced(
            iter([Frame(PHOTO, pts, 5) for pts in (10, 12, 30)]),
            Fraction(1, 10),
            Pace(clock, clock.sleep),
        )
    ]
    assert shown == [(100, 10), (pytest.approx(100.2), 12), (pytest.approx(102), 30)]
    assert clock.now == pytest.approx(102.5)  # the last one is shown too


def test_a_pause_holds_the_pace():
    clock = Clock(lambda now: pace.go_on() if now >= 107 else None)
    pace = Pace(clock, clock.sleep)
    pace.wait(0)
    pace.wait(1)
    pace.pause()
    pace.wait(2)
    assert clock.now == pytest.approx(101 + 6 + 1, abs=0.1)
    pace.end()
    pace.wait(1000)
    assert clock.now < 200


def test_what_comes_too_late_is_dropped(artist):
    """A video whose frames are all due while the first is drawn."""
    newest = Newest(iter(frames(9)))
    newest._thread.join(10)
    show = Show(artist, Showing(), Screen([]))
    show.run(newest)
    assert show.shown == 1
    np.testing.assert_array_equal(show.screen.shown[0], artist(frames(9)[-1].photo))
