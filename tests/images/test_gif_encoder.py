"""The GIF encoder, beneath animations and videos."""

import signal
import subprocess
import sys
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from toonbox.images.gif import bgra, choose_palette, frame_of, gif_blocks

STATM = Path("/proc/self/statm")
MANY = 20_000  # frames, which take far longer than the timer below


def interrupted(work):
    """Return how often KeyboardInterrupt comes out of `work` when a handler has raised it."""

    def interrupt(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    arrived = 0
    for number in range(20):
        signal.setitimer(signal.ITIMER_REAL, 0.02 + number / 3000)
        try:
            work()
        except KeyboardInterrupt:
            arrived += 1
    return arrived


@pytest.mark.skipif(sys.platform == "win32", reason="no timers that send signals")
def test_ctrl_c_is_never_lost():
    """PyAV loses a handler's error while it raises one of its own: none may be for each frame.

    In a process of its own, as coverage would not survive this.
    """
    done = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["20", "20"]


@pytest.mark.skipif(not STATM.exists(), reason="no /proc")
def test_frames_do_not_pile_up():
    """Sixty frames of 4 MB; those that wait would be seen in the memory used."""
    pixels, memory = np.full((1000, 1000, 4), 255, np.uint8), []

    def frames():
        for _ in range(60):
            memory.append(int(STATM.read_text().split()[1]) * 4096 / pixels.nbytes)
            yield frame_of(pixels)

    palette = choose_palette(frames())
    assert memory[-1] - memory[5] < 20
    memory.clear()
    assert sum(map(len, gif_blocks(frames(), palette, repeat(5, 60)))) > 0
    assert memory[-1] - memory[5] < 20


if __name__ == "__main__":
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    frame = frame_of(bgra(noise, None))
    palette = choose_palette([frame])
    print(interrupted(lambda: choose_palette(repeat(frame, MANY))))
    print(interrupted(lambda: list(gif_blocks(repeat(frame, MANY), palette, repeat(5, MANY)))))
