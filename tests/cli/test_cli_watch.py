import errno
import json
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picture_files import without_palette
from toonbox.cli.convert import Plan
from toonbox.cli.watch import Arrivals
from toonbox.images.picture import decode

watch_module = import_module("toonbox.cli.watch")  # its name is also that of its command


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    return tmp_path


def photo(path, size=(26, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    hidden = path.with_name(f".{path.name}")
    Image.fromarray(rgb).save(hidden)
    return hidden.replace(path)  # whole at once, however long a busy machine takes to write it


@pytest.fixture
def watch(style_folder):
    """Give a function that starts the real command; what still runs afterwards is killed."""
    started = []

    def start(*options):
        command = [sys.executable, "-m", "toonbox", "watch", "in", "-o", "out", *options]
        process = subprocess.Popen(
            [*command, "--style", str(style_folder), "--interval", "0.02", "--settle", "0.1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Where the tests run in the background, children inherit that Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        assert process.stderr.readline() == "watching in, until Ctrl-C\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def end(process, number=signal.SIGINT):
    process.send_signal(number)
    errors = process.stderr.read()
    process.wait(3600)
    return process.returncode, process.stdout.read(), errors


def test_pictures_as_they_arrive(watch, here):
    photo(here / "in" / "a.png")
    process = watch()
    assert process.stdout.readline() == "in/a.png -> out/a.toon.png\n"
    photo(here / "in" / "x" / "b.jpg", size=(33, 21))
    assert process.stdout.readline() == "in/x/b.jpg -> out/x/b.toon.jpg\n"
    assert decode(here / "out" / "x" / "b.toon.jpg").rgb.shape == (21, 33, 3)
    assert end(process) == (0, "", "2 done, 0 failed\n")


def test_sigterm(watch, here):
    photo(here / "in" / "a.png")
    process = watch()
    assert process.stdout.readline() == "in/a.png -> out/a.toon.png\n"
    assert end(process, signal.SIGTERM) == (143, "", "1 done, 0 failed\n")


def test_what_an_earlier_run_did_is_left_alone(watch, here):
    photo(here / "in" / "a.png")
    (here / "out").mkdir()
    (here / "out" / "a.toon.png").write_bytes(b"mine")
    process = watch()
    photo(here / "in" / "b.png")
    assert process.stdout.readline() == "in/b.png -> out/b.toon.png\n"
    assert end(process) == (0, "", "1 done, 0 failed\n")
    assert (here / "out" / "a.toon.png").read_bytes() == b"mine"


def test_a_picture_that_is_cut_off_is_done_once_the_rest_has_come(watch, here):
    data = photo(here / "whole.jpg", size=(200, 150)).read_bytes()
    (here / "in" / "a.jpg").write_bytes(data[: len(data) // 2])
    process = watch("--json")
    first = json.loads(process.stdout.readline())
    assert (first["status"], first["output"]) == ("failed", "out/a.toon.jpg")
    assert process.stderr.readline() == ("toonbox: in/a.jpg: ends before the picture is complete\n")
    with (here / "in" / "a.jpg").open("ab") as file:
        file.write(data[len(data) // 2 :])
    second = json.loads(process.stdout.readline())
    assert (second["status"], second["width"], second["height"]) == ("ok", 200, 150)
    assert end(process) == (0, "", "1 done, 0 failed\n")


def test_a_damaged_picture_does_not_end_it(watch, here):
    (here / "in" / "a.png").write_bytes(without_palette())
    process = watch()
    assert process.stderr.readline() == "toonbox: in/a.png: is damaged\n"
    photo(here / "in" / "b.png")
    assert process.stdout.readline() == "in/b.png -> out/b.toon.png\n"
    assert end(process) == (1, "", "1 done, 1 failed\n")


def test_failures_make_the_exit_code_1(watch, here):
    (here / "in" / "a.jpg").write_text("hello")
    process = watch()
    assert process.stderr.readline() == "toonbox: in/a.jpg: is text, not a picture\n"
    assert end(process) == (1, "", "0 done, 1 failed\n")


def test_a_picture_that_changes_is_done_again(watch, here):
    photo(here / "in" / "a.png")
    process = watch()
    assert process.stdout.readline() == "in/a.png -> out/a.toon.png\n"
    photo(here / "new.png", size=(40, 30)).replace(here / "in" / "a.png")
    assert process.stdout.readline() == "in/a.png -> out/a.toon.png\n"
    assert decode(here / "out" / "a.toon.png").rgb.shape == (30, 40, 3)
    assert end(process) == (0, "", "2 done, 0 failed\n")


def test_wrong_options_are_told_at_once(toonbox):
    code, _, errors = toonbox("watch", "in", "-o", "out", "--texture", "1")
    assert (code, errors) == (2, "toonbox: style tiny has no knob texture; its knobs: none\n")


def test_a_folder_that_is_not_there_is_wrong_usage(toonbox, here):
    assert toonbox("watch", "none", "-o", "out")[0] == 2
    photo(here / "a.png")
    assert toonbox("watch", "in", "-o", "a.png")[0] == 2


def arrived(arrivals, now):
    plan = Plan("out")
    plan.add_folder(Path("in"))
    return [(job.source.name, job.on_existing) for job in arrivals.complete(plan, now)]


def test_complete_is_what_has_not_changed_for_long_enough(here):
    arrivals = Arrivals(settle=2)
    path = photo(here / "in" / "a.png")
    assert arrived(arrivals, 10) == []
    assert arrived(arrivals, 11.9) == []
    path.write_bytes(path.read_bytes() + b"more")
    assert arrived(arrivals, 12.1) == []
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))  # of the same size
    assert arrived(arrivals, 13) == []
    assert arrived(arrivals, 14.9) == []
    assert arrived(arrivals, 15) == [("a.png", "skip")]
    assert arrived(arrivals, 99) == []


def test_done_once_unless_it_changes(here):
    arrivals = Arrivals(settle=1)
    path = photo(here / "in" / "a.png")
    arrived(arrivals, 1)
    assert arrived(arrivals, 2) == [("a.png", "skip")]
    photo(here / "out" / "a.toon.png")
    assert arrived(arrivals, 3) == []
    path.write_bytes(path.read_bytes() + b"more")
    assert [*arrived(arrivals, 4), *arrived(arrivals, 5)] == [("a.png", "overwrite")]
    (here / "out" / "a.toon.png").unlink()
    assert arrived(arrivals, 6) == [], "who removes a cartoon does not want it again"


def test_what_was_postponed_comes_again_later(here):
    arrivals = Arrivals(settle=1)
    path = photo(here / "in" / "a.png")
    arrived(arrivals, 1)
    assert arrived(arrivals, 2) == [("a.png", "skip")]
    arrivals.postpone(Path("in", "a.png"), 30)
    assert arrived(arrivals, 30.9) == []
    assert arrived(arrivals, 31) == [("a.png", "skip")]
    assert arrived(arrivals, 99) == []
    arrivals.postpone(Path("in", "a.png"), 200)
    path.write_bytes(path.read_bytes() + b"more")
    photo(here / "out" / "a.toon.png")  # of the picture before it changed
    assert [*arrived(arrivals, 100), *arrived(arrivals, 101)] == [("a.png", "overwrite")]
    arrivals.postpone(Path("in", "a.png"), 300)
    assert [*arrived(arrivals, 300), *arrived(arrivals, 301)] == [("a.png", "overwrite")]


def test_a_picture_is_done_once_there_is_space_again(toonbox, here, monkeypatch):
    photo(here / "in" / "a.png")
    real, tries = Path.write_bytes, []

    def full(path, data):
        tries.append(path)
        if len(tries) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        signal.raise_signal(signal.SIGTERM)
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(watch_module, "LATER", 0.01)
    options = ("--interval", "0.01", "--settle", "0")
    code, output, errors = toonbox("watch", "in", "-o", "out", *options)
    assert (code, output) == (143, "in/a.png -> out/a.toon.png\n")
    full_disk = "toonbox: in/a.png: out/a.toon.png cannot be written: No space left on device"
    assert errors.splitlines()[1:] == [full_disk, full_disk, "1 done, 0 failed"]
    assert decode(here / "out" / "a.toon.png").rgb.shape == (20, 26, 3)


def test_what_is_gone_is_forgotten(here):
    arrivals = Arrivals(settle=1)
    path = photo(here / "in" / "a.png")
    arrived(arrivals, 1)
    arrived(arrivals, 2)
    path.unlink()
    assert arrived(arrivals, 3) == []
    assert vars(arrivals) == {"settle": 1, "_since": {}, "_begun": {}}
