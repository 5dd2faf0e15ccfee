"""The GIF encoder, beneath animations and videos."""

import signal
import sys
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from toonbox.images.gif import bgra, choose_palette, frame_of, gif_blocks

STATM = Path("/proc/self/statm")


NOISE = bgra(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8), None)
MANY = 20_000  # these take far longer than the timer below


def write_many():
    frame = frame_of(NOISE)
    for _ in gif_blocks(repeat(frame, MANY), choose_palette([frame]), repeat(5, MANY)):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="no timers that send signals")
@pytest.mark.parametrize(
    "work", [lambda: choose_palette(repeat(frame_of(NOISE), MANY)), write_many]
)
def test_ctrl_c_is_never_lost(work):
    """PyAV loses a handler's error while it raises one of its own: none may be for each frame."""
    raised = []

    def interrupt(*_):
        raised.append(True)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(20):
            signal.setitimer(signal.ITIMER_REAL, 0.02 + number / 3000)
            with pytest.raises(KeyboardInterrupt):
                work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(raised) == 20


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
