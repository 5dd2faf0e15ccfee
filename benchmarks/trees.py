"""Compare the commands of two source trees, such as a change and what was before it.

Run `python benchmarks/trees.py BEFORE [AFTER]` with the roots of two checkouts, by default this one
as the second. Whole commands take turns, with the same style and the same files: a photo, a folder
of photos, a video. The table has the least seconds of the clock, seconds of the processor and
memory of each, and the second tree's shares of the first's.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import folder as folder_benchmark
from inference import PAUSE, write_photo
from ratios import Ratio, print_ratios
from toonbox.engine.style import find_style
from video import make_film
from video_memory import cost_of

ROOT = Path(__file__).parents[1]
UNITS = ("seconds", "seconds of the processor", "MB at most")


def run(tree: Path, arguments: Sequence[str]) -> tuple[float, ...]:
    """Run a tree's command: the values of `UNITS`."""
    command = [sys.executable, "-m", "toonbox", *arguments]
    cost = cost_of(command, PYTHONPATH=str(tree / "src"))
    return cost.seconds, cost.worked, cost.peak / 1e6


def make_tasks(folder: Path, photos: int, frames: int) -> dict[str, list[str]]:
    """Make the files, and return what to convert by name, the target left out."""
    write_photo(folder / "photo.jpg", 1280, 720)
    make_film(folder / "video.mp4", (1280, 720), frames)
    (folder / "photos").mkdir()
    folder_benchmark.make_photos(ROOT / "examples", folder / "photos", photos)
    width, height = folder_benchmark.SIZE
    slow, fast = (str(find_style(name)) for name in ("comic", "comic-fast"))
    return {
        "a photo of 1280 x 720": [str(folder / "photo.jpg"), "--style", slow],
        f"{photos} photos of {width} x {height}": [str(folder / "photos"), "--style", slow],
        f"a video of {frames} frames": [
            str(folder / "video.mp4"), "--style", fast, "--stabilize", "on",
        ],
    }  # fmt: skip


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare the commands of two source trees.")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path, nargs="?", default=ROOT)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--frames", type=int, default=96)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Run it; `arguments` are the command line's."""
    options = parse_options(arguments)
    ratios = []
    print(f"{'':54}{'before':>9}{'after':>9}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, task in make_tasks(folder, options.photos, options.frames).items():
            target = folder / f"out{Path(task[0]).suffix}"
            figures = []
            for _ in range(1 + options.repeats):
                for tree in (options.before, options.after):
                    time.sleep(PAUSE)
                    figures.append(run(tree, [*task, "-o", str(target), "--force"]))
                    shutil.rmtree(target) if target.is_dir() else target.unlink()
            timed = figures[2:]  # the first ones compile bytecode
            before, after = (
                [min(values) for values in zip(*each, strict=True)]
                for each in (timed[::2], timed[1::2])
            )
            for unit, old, new in zip(UNITS, before, after, strict=True):
                print(f"{name:28}{unit:26}{old:9.2f}{new:9.2f}{new / old:8.2f}")
                ratios.append(Ratio(f"{name}, {unit}, after / before", new / old, at_most=1.02))
    print()
    print_ratios(ratios)
    return ratios


if __name__ == "__main__":
    main()
