"""The benchmark runs and prints what it found; how much that is depends on the machine."""

import pytest

from test_benchmarks import cells, run

pytest.importorskip("resource")
pytestmark = pytest.mark.usefixtures("unmeasured")


@pytest.mark.slow
def test_two_videos_are_compared():
    arguments = "--size 96x64 --seconds 1 --times 2 --rate 4 --resolution 64"
    done = run("video_memory.py", arguments)
    assert done.returncode == 0, done.stderr
    assert "96x64, 4 frames a second, comic-fast at 64" in done.stdout
    short, long = (cells(done.stdout, f"{seconds:6} s of video")[0] for seconds in (1, 2))
    assert min(short, long) > 50
    assert cells(done.stdout, "at most")[0] == max(short, long)
    longer = "memory of a video 2 times as long / of the short one"
    assert cells(done.stdout, longer)[0] == pytest.approx(long / short, abs=0.02)


def test_nothing_is_made_of_nothing():
    done = run("video_memory.py", "--seconds 0")
    assert done.returncode == 2
    assert "at least 1" in done.stderr
