"""Say how much memory a video takes, and whether a video ten times as long takes more.

Run `python benchmarks/video_memory.py`. The whole command works on two videos with sound that it
makes itself; the largest size of its process is what the system tells of it. The peer of the long
video is the short one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from inference import EXAMPLES
from ratios import Ratio, print_ratios
from toonbox.engine.style import find_style
from toonbox.pixels import Uint8Array

RATE = 48_000  # samples of sound a second
KIB = 1 if sys.platform == "darwin" else 1024  # what ru_maxrss counts in, in bytes


def moving(size: tuple[int, int], count: int) -> Iterator[Uint8Array]:
    """Go around over a photo, so that every frame differs from the one before."""
    width, height = size
    with Image.open(min(EXAMPLES.glob("*.jpg"))) as opened:
        large = np.asarray(opened.convert("RGB").resize((width * 5 // 4, height * 5 // 4)))
    for index in range(count):
        left = round((np.sin(index / 9) + 1) * width / 8)
        top = round((np.cos(index / 7) + 1) * height / 8)
        yield np.ascontiguousarray(large[top : top + height, left : left + width])


def make_film(path: Path, size: tuple[int, int], seconds: int, rate: int) -> None:
    """Write pictures and sound, a second of each by turns, as they are when they are played."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", Fraction(rate), options={"preset": "ultrafast"})
        pictures.width, pictures.height = size
        pictures.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", RATE, layout="mono")
        frames = moving(size, seconds * rate)
        for second in range(seconds):
            for _ in range(rate):
                frame = av.VideoFrame.from_ndarray(next(frames), "rgb24")
                container.mux(pictures.encode(frame))
            samples = random.integers(-3000, 3000, (1, RATE), dtype=np.int16)
            part = av.AudioFrame.from_ndarray(samples, "s16", "mono")
            part.sample_rate, part.pts = RATE, second * RATE
            container.mux(sound.encode(part))
        container.mux([*pictures.encode(), *sound.encode()])


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        seconds: by the clock.
        worked: processor seconds of it and its children.
        peak: the most bytes that it, or the largest of its children, had resident.
    """

    seconds: float
    worked: float
    peak: int


def cost_of(command: list[str], **environment: str) -> Cost:
    """Run a command, with more variables if given; raise CalledProcessError if it fails.

    `resource` knows the sum, and the largest, of all children that ended: so it is asked in a
    process of its own.
    """
    code = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss)\n"
        "sys.exit(done.returncode)"
    )
    began = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", code, *command],
        stdout=subprocess.PIPE, text=True, check=True, env=os.environ | environment,
    )  # fmt: skip
    worked, peak = ended.stdout.split()
    return Cost(time.perf_counter() - began, float(worked), int(peak) * KIB)


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Look for memory that grows with a video.")
    parser.add_argument("--style", default="comic-fast")
    parser.add_argument("--resolution", default="512", help="of the network")
    parser.add_argument("--size", default="1920x1080", metavar="WxH")
    parser.add_argument("--seconds", type=int, default=60, help="of the short video")
    parser.add_argument("--times", type=int, default=10, help="of it, the long one; 1 for no other")
    parser.add_argument("--rate", type=int, default=5, help="frames a second")
    options = parser.parse_args(arguments)
    options.size = tuple(int(side) for side in options.size.split("x"))
    if min(options.seconds, options.times, options.rate, *options.size) < 1:
        parser.error("sizes and numbers are at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Run it; `arguments` are the command line's."""
    options = parse_options(arguments)
    find_style(options.style)  # what is wrong is told before the work
    width, height = options.size
    print(f"{width}x{height}, {options.rate} frames a second, ", end="")
    print(f"{options.style} at {options.resolution}\n", flush=True)
    peaks = []
    for seconds in sorted({options.seconds, options.seconds * options.times}):
        with tempfile.TemporaryDirectory() as folder:
            film, target = Path(folder, "film.mp4"), Path(folder, "toon.mp4")
            make_film(film, options.size, seconds, options.rate)
            command = [sys.executable, "-m", "toonbox", str(film), "-o", str(target)]
            command += ["--style", options.style, "--resolution", options.resolution]
            cost = cost_of(command)
        peaks.append(cost.peak)
        print(
            f"{seconds:6} s of video{peaks[-1] / 1e6:10.0f} MB at most, in {cost.seconds:.0f} s",
            flush=True,
        )
    print(f"\nat most {max(peaks) / 1e6:.0f} MB (wanted less than 1500)")
    longer = f"memory of a video {options.times} times as long / of the short one"
    ratios = [Ratio(longer, peaks[-1] / peaks[0], at_most=1.1)] if len(peaks) > 1 else []
    print_ratios(ratios)
    return ratios


if __name__ == "__main__":
    main()
