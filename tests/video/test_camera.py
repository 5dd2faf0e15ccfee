"""The loop, with a screen, a clock and pictures of our own."""

import threading

import numpy as np
import pytest
from PIL import Image

from toonbox.engine.style import load_style
from toonbox.errors import StyleError, UsageError
from toonbox.options import StyleOptions
from toonbox.video.camera import FrameStylizer, LatestValue, Show
from video_files import motion

PHOTO = next(motion(1))


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
def stylizer(load):
    return FrameStylizer(load, "a", StyleOptions())


def frames(count):
    return list(motion(count))


def test_what_is_shown(stylizer, load):
    screen = Screen([])
    Show(stylizer, screen).run(Frames([None, *frames(3), None]))
    assert len(screen.shown) == 3
    style = load("a")
    for shown, frame in zip(screen.shown, frames(3), strict=True):
        np.testing.assert_array_equal(shown, style(frame))


def test_mirrored_and_compared(stylizer):
    plain = stylizer(PHOTO)
    for compare, expected in (
        (None, plain[:, ::-1]),
        ("side", np.hstack([PHOTO[:, ::-1], plain[:, ::-1]])),
    ):
        screen = Screen([])
        Show(stylizer, screen, mirror=True, compare=compare).run(Frames([PHOTO]))
        np.testing.assert_array_equal(screen.shown[0], expected)


def test_rate_in_the_title(stylizer):
    now = iter(range(100))
    screen = Screen([])
    Show(stylizer, screen, clock=lambda: next(now) / 4).run(Frames(frames(3)))
    assert screen.titles == ["toonbox: a", "toonbox: a, 4.0 fps"]
    screen = Screen([])
    Show(stylizer, screen, rate=False).run(Frames(frames(3)))
    assert screen.titles == ["toonbox: a"]


@pytest.mark.parametrize("screen", [Screen(["", "q"]), Screen([""], stays_open=False)])
def test_an_end(stylizer, screen):
    show = Show(stylizer, screen)
    show.run(Frames(frames(9)))
    assert show.shown == 2


def test_stop(stylizer):
    show = Show(stylizer, Screen([]))
    show.run(Frames(frames(9)), stop=lambda: show.shown == 4)
    assert show.shown == 4


def test_pause(stylizer):
    screen = Screen(["", " ", "", "", " ", ""])
    show = Show(stylizer, screen, rate=False)
    show.run(Frames(frames(4)))
    # Two before the pause, which three looks at the keys last; the others after it.
    assert show.shown == 4
    assert screen.titles == ["toonbox: a", "toonbox: a, paused", "toonbox: a"]


def test_snapshots(stylizer, tmp_path, caplog):
    told = []
    screen = Screen(["s", "", "s"])
    show = Show(stylizer, screen, snapshots=tmp_path / "new", report=told.append)
    show.run(Frames([None, *frames(2)]))
    (saved,) = (tmp_path / "new").iterdir()
    assert told == [str(saved)]
    assert saved.name.startswith("toon-")
    np.testing.assert_array_equal(np.asarray(Image.open(saved)), screen.shown[-1])
    (tmp_path / "file").write_text("")
    show = Show(stylizer, Screen(["s"]), snapshots=tmp_path / "file")
    show.run(Frames(frames(2)))
    assert show.shown == 2
    assert "cannot be written" in caplog.text


def test_digits_change_the_style(stylizer, load, caplog):
    screen = Screen(["2", "3", "9", "1"])
    show = Show(stylizer, screen, styles=["a", "b", "gone"], rate=False)
    show.run(Frames(frames(5)))
    names = ["a", "b", "b", "b", "a"]
    for shown, frame, name in zip(screen.shown, frames(5), names, strict=True):
        np.testing.assert_array_equal(shown, load(name)(frame))
    assert screen.titles == ["toonbox: a", "toonbox: b", "toonbox: a"]
    assert "no style gone" in caplog.text


def test_an_stylizer_says_at_once_what_is_wrong(load):
    with pytest.raises(UsageError, match="has no knob surface"):
        FrameStylizer(load, "a", StyleOptions(surface=1.0))
    steady = FrameStylizer(load, "a", StyleOptions(), "strong")
    first, second = frames(2)
    np.testing.assert_array_equal(steady(first), load("a")(first))
    assert not np.array_equal(steady(second), load("a")(second))


def test_what_comes_too_late_is_dropped(stylizer):
    """All come while the first is drawn."""
    latest = LatestValue(iter(frames(9)))
    latest._thread.join(10)
    show = Show(stylizer, Screen([]))
    show.run(latest)
    assert show.shown == 1
    np.testing.assert_array_equal(show.screen.shown[0], stylizer(frames(9)[-1]))


def test_only_the_latest_is_kept():
    gate, done = threading.Event(), threading.Event()

    def items():
        yield 1
        yield 2
        yield 3
        done.set()
        gate.wait(3600)
        yield 4

    latest = LatestValue(items())
    assert done.wait(3600)
    assert latest.take(0) == 3
    assert latest.take(0) is None
    assert not latest.ended
    gate.set()
    assert latest.take(10) == 4
    assert latest.take(10) is None
    assert latest.ended
    latest.close()


def test_an_error_comes_after_what_was_there():
    def items():
        yield 1
        raise ValueError("unplugged")

    latest = LatestValue(items())
    latest.close()  # waits until it has ended
    assert latest.take(0) == 1
    assert not latest.ended
    with pytest.raises(ValueError, match="unplugged"):
        latest.take(0)
    assert latest.ended


def test_closing_ends_the_thread_and_closes_the_items():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    latest = LatestValue(items())
    assert latest.take(10) == 0
    latest.close()
    assert closed.is_set()
    assert not [t for t in threading.enumerate() if t.name == "toonbox-latest"]


def test_items_that_are_no_generator():
    latest = LatestValue(iter([1, 2]))
    latest.close()
    assert latest.take(0) in (1, 2)
