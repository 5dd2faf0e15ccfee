"""What one picture fails with, and what is said and kept of it."""

import gc
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picture_files import OddError, without_palette
from toonbox.cli.terminal import Outcomes, show_tracebacks
from toonbox.images import encode as encoding


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in a folder with two pictures."""
    monkeypatch.chdir(tmp_path)
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


def test_a_path_that_cannot_be_looked_up_is_one_pictures_failure(toonbox):
    name = "x" * 300 + ".png"
    code, output, errors = toonbox(name, "in/a.png", "-o", "out")
    assert (code, output) == (1, "in/a.png -> out/a.toon.png\n")
    assert errors == f"toonbox: {name}: cannot be read: File name too long\n1 done, 1 failed\n"


@pytest.mark.usefixtures("odd")
def test_an_unexpected_error_is_one_pictures_failure(toonbox):
    code, output, errors = toonbox("in", "-o", "out")
    assert (code, output) == (1, "in/b.png -> out/b.toon.png\n")
    assert errors == "toonbox: in/a.png: unexpected OddError: odd\n1 done, 1 failed\n"


@pytest.mark.usefixtures("odd")
def test_debug_shows_its_traceback(toonbox):
    code, _, errors = toonbox("in", "-o", "out", "--debug")
    assert code == 1
    assert "in image_of" in errors
    assert errors.endswith("\ntoonbox: in/a.png: unexpected OddError: odd\n1 done, 1 failed\n")
    assert "in image_of" not in toonbox("in", "-o", "out")[2]  # the next run does not


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize("arguments", [["in/a.png"], ["in/a.png", "-o", "-"], ["compare", "in"]])
def test_wherever_it_fails(arguments, toonbox):
    code, _, errors = toonbox(*arguments, "--debug")
    assert code == 1
    assert "in image_of" in errors
    assert "\ntoonbox: in/a.png: unexpected OddError: odd\n" in errors


def test_failures_keep_no_picture_in_memory():
    from toonbox.convert.job import Job, done_or_failed

    pixels = []

    def work():
        picture = np.zeros(8)
        pixels.append(weakref.ref(picture))
        raise OddError("odd")

    show_tracebacks(False)  # or what pytest keeps of the log would be one that keeps it
    outcomes = Outcomes()
    outcomes.report(done_or_failed(Job(Path("a.png"), Path("b.png")), work))
    gc.collect()
    assert pixels[0]() is None
    assert len(outcomes.failed) == 1
