"""Ctrl-C and SIGTERM, tied to events in processes of their own."""

import signal
import subprocess
import sys

import pytest

from toonbox.parallel import ending, without_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")

ENDING = [signal.SIGINT, signal.SIGTERM]

WRITING = """
import sys, time
from pathlib import Path
from toonbox.atomic import folder_beside, replacing
from toonbox.parallel import end_at_once_from_now
end_at_once_from_now()
target = Path(sys.argv[1], "a.png")
with replacing(target) as file, folder_beside(target) as folder:
    (folder / "more").write_bytes(b"half")
    file.write_bytes(b"half")
    print("writing", flush=True)
    while True:
        time.sleep(1)
"""

PATIENT = """
import time
from toonbox.parallel import end_at_once_from_now, interruptible
end_at_once_from_now()
with interruptible() as stop:
    print("begun", flush=True)
    while not stop():
        time.sleep(0.01)
    print("asked", flush=True)
    input()
"""


def start(code, *arguments, handler=signal.SIG_DFL):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, children inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
    )


@pytest.mark.parametrize("number", ENDING)
def test_temporary_files_go_with_a_process_that_ends_at_once(number, tmp_path):
    process = start(WRITING, tmp_path)
    assert process.stdout.readline() == "writing\n"
    process.send_signal(number)
    process.communicate()
    # Of Ctrl-C it dies, or loops of shells would go on.
    assert process.returncode == (-number if number == signal.SIGINT else 143)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", ENDING)
def test_what_is_begun_is_finished_unless_it_comes_twice(number):
    for twice in (False, True):
        process = start(PATIENT)
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.stdout.readline() == "asked\n"
        if twice:
            process.send_signal(number)
            process.wait()
        _, errors = process.communicate(None if twice else "on\n")
        if number == signal.SIGTERM:
            assert process.returncode == 143
        else:  # without typer, which makes 130 of it
            assert process.returncode == -signal.SIGINT
            assert ("KeyboardInterrupt" in errors) is not twice


def test_what_ignores_ctrl_c_goes_on_doing_so():
    process = start(PATIENT, handler=signal.SIG_IGN)
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "asked\n"
    process.communicate("on\n")
    assert process.returncode == 143


def test_processes_that_outlive_sigterm():
    with without_signals(signal.SIGTERM):
        process = start("input()")
    with without_signals(signal.SIGINT, signal.SIGTERM):
        both = start("input()")
    other = start("input()")
    for each in (process, both, other):
        each.send_signal(signal.SIGTERM)
    both.send_signal(signal.SIGINT)
    for each in (process, both):
        each.communicate("\n")
        assert each.returncode == 0
    assert other.wait() == -signal.SIGTERM


RESTORED = """
import signal
from toonbox.parallel import interruptible

def handlers():
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

before = handlers()
try:
    with interruptible() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop()
except SystemExit as ended:
    assert ended.code == 143
else:
    raise AssertionError("it went on")
assert handlers() == before
with interruptible(patient=False):
    assert handlers() == before
"""


def test_handlers_are_restored():
    """In a process of its own, which a mistake would end."""
    subprocess.run([sys.executable, "-c", RESTORED], check=True)
    assert isinstance(ending(signal.SIGINT), KeyboardInterrupt)
