import os
import subprocess
import sys

import pytest

# Encodes several videos of so many frames, then exits as any program does.
HEVC = """
import sys
from fractions import Fraction
from pathlib import Path
import av
import numpy as np
from toonbox.video.read import FrameColours
from toonbox.video.write import Encoding, Track, writing_segment
from video_files import motion
width, height, count, bits = map(int, sys.argv[2:])
colours = FrameColours(0, 2, 2, 2)
track = Track((width, height), Fraction(1, 12288), Fraction(24), Fraction(1), colours)
for _ in range(4):
    with writing_segment(Path(sys.argv[1]), track, Encoding("hevc", 1, bits=bits)) as writer:
        for number, rgb in enumerate(motion(count, (width, height))):
            writer.write(rgb if bits == 8 else rgb.astype(np.uint16) * 257, 512 * number, 512)
    with av.open(sys.argv[1]) as made:
        packets = [packet for packet in made.demux(video=0) if packet.size]
    late = [(packet.pts - packet.dts) * packet.time_base for packet in packets]
    assert len(late) == count and max(late) < 1, late
"""


@pytest.mark.parametrize(("size", "count"), [((48, 36), 12), ((64, 48), 1), ((64, 48), 2)])
@pytest.mark.parametrize("bits", [8, 10])
def test_hevc_of_few_columns_or_few_frames(tmp_path, size, count, bits):
    """x265 would damage the memory, or use what it never wrote, which glibc fills for this."""
    numbers = map(str, (*size, count, bits))
    command = [sys.executable, "-c", HEVC, str(tmp_path / "toon.mp4"), *numbers]
    paths = os.pathsep.join(path for path in sys.path if path)
    variables = {**os.environ, "PYTHONPATH": paths, "GLIBC_TUNABLES": "glibc.malloc.perturb=90"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
