"""A short run of tests/fuzz_decode.py, and that it would notice what it looks for."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import fuzz_decode
from picture_files import file_of

SCRIPT = Path(fuzz_decode.__file__)


@pytest.mark.slow
def test_damaged_files_are_pictures_or_our_own_errors():
    command = [sys.executable, str(SCRIPT), "--count", "800", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(r"800 files in \d+ s: .*\d{3} read, \d{3,} refused\n", done.stdout)


def test_damage_follows_from_seed_and_number():
    one, again, other = (fuzz_decode.damaged(seed, 5) for seed in (1, 1, 2))
    assert one == again != other


def test_mended_checksums_are_right():
    data = bytearray(fuzz_decode.corpus()[5])
    whole = bytes(data)
    data[-5:] = b"12345"
    fuzz_decode.mend_checksums(data)
    assert bytes(data) != whole
    data[-8:] = whole[-8:]
    fuzz_decode.mend_checksums(data)
    assert bytes(data) == whole


def die():
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def sleep():
    import time

    time.sleep(600)


class ImpatientAtOne:
    """An end of a pipe that waits for ever, but for file 1 a moment."""

    def __init__(self, real):
        self.real, self.last = real, None

    def poll(self, seconds):
        return self.real.poll(0.1 if self.last == (1, None) else None)

    def recv(self):
        self.last = self.real.recv()
        return self.last


@pytest.mark.parametrize(
    ("bug", "told"),
    [(die, "crash: exit code -9"), (sleep, "hang: "), (lambda: 1 / 0, "ZeroDivisionError")],
)
def test_crashes_hangs_and_other_exceptions_are_told(bug, told, monkeypatch):
    def bad(seed, number):
        if number == 1:
            bug()
        return file_of(fuzz_decode.Image.new("RGB", (2, 2)))

    monkeypatch.setattr(fuzz_decode, "damaged", bad)
    if bug is sleep:
        pipe = fuzz_decode.mp.Pipe

        def impatient(duplex):
            ours, theirs = pipe(duplex)
            return ImpatientAtOne(ours), theirs

        monkeypatch.setattr(fuzz_decode.mp, "Pipe", impatient)
    monkeypatch.setattr(fuzz_decode.mp, "Process", fuzz_decode.mp.get_context("fork").Process)
    endings = dict(fuzz_decode.watched(1, 0, 3, 1))
    assert sorted(endings) == [0, 1, 2]
    assert (endings[0], endings[2]) == ("read", "read")
    assert told in endings[1]
