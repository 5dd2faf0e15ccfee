"""The benchmark runs and prints its tables; how steady videos are is tests/test_steadying.py's."""

import pytest

from test_benchmarks import cells, run
from video_files import Clip


@pytest.mark.slow
def test_steadiness_prints_ratios_to_the_cartoons_as_drawn(tmp_path):
    video = Clip(pts=list(range(4)), sound=None).make(tmp_path / "clip.mkv")
    done = run(
        "steadiness.py", f"--size 96x64 --frames 4 --video {video} --save {tmp_path / 'all'}"
    )
    assert done.returncode == 0, done.stderr
    tables = done.stdout.split("error, 1e-4")[1:]
    assert len(tables) == 4
    for table in tables:
        assert cells(table, "  video itself")[0] > 0
        off = cells(table, "  off")
        assert off[1:3] == [1, 1]
        for row in ("  on", "  strong"):
            error, ratio, detail, _ = cells(table, row)
            assert ratio == pytest.approx(error / off[0], abs=0.02)
            assert detail > 0
    assert (tmp_path / "all" / "clip-strong-003.png").exists()
