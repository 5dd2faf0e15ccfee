"""What one picture fails with, and what is said and kept of it."""

import gc
import json
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picture_files import OddError, without_palette
from toonbox.cli import terminal
from toonbox.cli.terminal import Outcomes
from toonbox.images import encode as encoding

LOG = Path("home/.local/state/toonbox/log/errors.log")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in a folder with a home that shows what is written there, and two pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "in" / name)
    return tmp_path


@pytest.fixture
def odd(monkeypatch):
    """Let the encoding of a.png fail as nobody foresees."""
    real = encoding.image_of

    def image_of(picture, rgb, *format):
        if picture.name.endswith("a.png"):
            raise OddError("odd")
        return real(picture, rgb, *format)

    monkeypatch.setattr(encoding, "image_of", image_of)


def test_a_damaged_picture_ends_no_run(toonbox, here):
    (here / "in" / "a.png").write_bytes(without_palette())
    code, output, errors = toonbox("in", "-o", "out", "--json")
    assert code == 1
    told = {line["input"]: line for line in map(json.loads, output.splitlines())}
    assert told["in/b.png"]["status"] == "ok"
    assert told["in/a.png"]["error"] == "in/a.png: is damaged"
    assert errors == "toonbox: in/a.png: is damaged\n1 done, 1 failed\n"
    assert not LOG.parent.exists()


@pytest.mark.usefixtures("odd")
def test_an_unexpected_error_is_logged(toonbox, here):
    code, output, errors = toonbox("in", "-o", "out")
    assert (code, output) == (1, "in/b.png -> out/b.toon.png\n")
    failure, total = errors.splitlines()
    assert failure == f"toonbox: in/a.png: unexpected OddError: odd; traceback in {here / LOG}"
    assert total == "1 done, 1 failed"
    assert "OddError: odd\n" in LOG.read_text()
    assert "in image_of" in LOG.read_text()


@pytest.mark.usefixtures("odd")
def test_debug_shows_it_instead(toonbox, here):
    code, _, errors = toonbox("in", "-o", "out", "--debug")
    assert code == 1
    assert "in image_of" in errors
    assert errors.endswith("\ntoonbox: in/a.png: unexpected OddError: odd\n1 done, 1 failed\n")
    assert not LOG.parent.exists()
    assert "in image_of" not in toonbox("in", "-o", "out")[2]  # the next run does not


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize("arguments", [["in/a.png"], ["in/a.png", "-o", "-"], ["compare", "in"]])
def test_wherever_it_fails(arguments, toonbox, here, monkeypatch):
    code, _, errors = toonbox(*arguments)
    assert code == 1
    assert f"toonbox: in/a.png: unexpected OddError: odd; traceback in {here / LOG}\n" in errors


@pytest.mark.usefixtures("odd")
def test_without_a_place_for_the_log_it_is_shown(toonbox, here):
    (here / "home" / ".local").write_text("in the way")
    code, _, errors = toonbox("in", "-o", "out")
    assert code == 1
    assert "in image_of" in errors
    assert "toonbox: in/a.png: unexpected OddError: odd\n" in errors


@pytest.mark.usefixtures("odd")
def test_the_log_does_not_grow_for_ever(toonbox, monkeypatch):
    toonbox("in", "-o", "out")
    size = LOG.stat().st_size
    toonbox("in", "-o", "out")
    assert LOG.stat().st_size == 2 * size
    monkeypatch.setattr(terminal, "_MOST", size)
    toonbox("in", "-o", "out")
    assert LOG.stat().st_size == size


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {"XDG_STATE_HOME": "/state"}, "/state/toonbox/log"),
        ("darwin", {}, "/home/me/Library/Logs/toonbox"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/toonbox/Logs"),
    ],
)
def test_where_the_log_is(platform, variables, folder, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in {"HOME": "/home/me", **variables}.items():
        monkeypatch.setenv(name, value)
    assert terminal._folder() == Path(folder)


def test_failures_keep_no_picture_in_memory():
    from toonbox.convert.job import Job, done_or_failed

    pixels = []

    def work():
        picture = np.zeros(8)
        pixels.append(weakref.ref(picture))
        raise OddError("odd")

    outcomes = Outcomes(as_json=False)
    outcomes.report(done_or_failed(Job(Path("a.png"), Path("b.png")), work))
    gc.collect()
    assert pixels[0]() is None
    assert len(outcomes.failed) == 1
