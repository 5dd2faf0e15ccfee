"""The benchmark runs and prints its tables; nothing here depends on how long anything takes."""

import cv2
import pytest

from test_benchmarks import cells, run

pytestmark = pytest.mark.usefixtures("unmeasured")
PARTS = (
    *("reduced YUV to RGB", "network", "steadying", "carrying"),
    *("RGB to YUV", "guided upsampling", "colours enlarged"),
)


@pytest.mark.slow
def test_video_prints_all_rates():
    line = "--size 64x48 --frames 8 --authors-frames 2 --resolution 32 --repeats 1"
    threads = cv2.getNumThreads()
    try:
        done = run("video.py", line)
    finally:
        cv2.setNumThreads(threads)
    assert done.returncode == 0, done.stderr
    assert "64x48, 8 frames, comic-fast at 32" in done.stdout
    rate, ratio = cells(done.stdout, "authors' network, torch eager, plain loop")
    assert rate > 0
    assert ratio == 1
    for row in (
        "decode and encode alone",
        "whole command, --stabilize on",
        "whole command, --stabilize off",
    ):
        assert min(cells(done.stdout, row)) > 0
    shares = [cells(done.stdout, row)[-1] for row in PARTS]
    assert sum(shares) == pytest.approx(100, abs=2)


def test_video_refuses_sizes_that_the_network_would_pad():
    done = run("video.py", "--size 60x48")
    assert done.returncode == 2
    assert "multiples of 8" in done.stderr
