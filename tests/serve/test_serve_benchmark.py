"""The benchmark runs and prints its figures; nothing here depends on how long anything takes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("unmeasured")
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "serve.py"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks into /proc")
@pytest.mark.slow
def test_the_benchmark():
    options = "--count 2 --megapixels 0.05 --connections 40 --requests 5 --workers 1"
    run = subprocess.run(
        [sys.executable, str(BENCHMARK), *options.split(), "--style", "comic-fast"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    for pattern in (
        r"^memory: library \d+ MiB, server \d+ MiB, added -?\d+ MiB$",
        r"^library +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+$",
        r"^server +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+$",
        r"^server / library, rates +[\d.]+ +at least 0.9",
        r"^40 connections at once: \d+ x 200, \d+ x 429, in [\d.]+ s; alive: True$",
        r"^memory of the server after 5 requests / before +[\d.]+ ",
    ):
        assert re.search(pattern, run.stdout, re.M), run.stdout
