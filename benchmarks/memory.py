"""Say whether memory grows over a long run: its size after 200 files and after 2,000.

Run `python benchmarks/memory.py`. One call of `convert_all`, what `toonbox FOLDER` runs, works
on pictures of many sizes and three formats; how much memory the process has is looked up in /proc,
so this needs Linux. The peer is the same process earlier on.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from inference import EXAMPLES
from machine import resident_mib
from ratios import Ratio, print_ratios
from toonbox.convert.job import Converter, Job, convert_all
from toonbox.engine.style import load_style
from toonbox.options import DEFAULT_STYLE

KINDS = 60  # different pictures; they come again and again
SUFFIXES = (".jpg", ".png", ".webp")


def make_pictures(folder: Path) -> list[Path]:
    """Write pictures with sides from 40 to 240 pixels."""
    random = np.random.default_rng(0)
    files = []
    with Image.open(min(EXAMPLES.glob("*.jpg"))) as opened:
        for number in range(KINDS):
            width, height = random.integers(40, 241, 2).tolist()
            files.append(folder / f"{number:02}{SUFFIXES[number % len(SUFFIXES)]}")
            opened.resize((width, height)).save(files[-1])
    return files


def jobs(files: list[Path], out: Path, count: int) -> Iterator[Job]:
    for number in range(count):
        source = files[number % len(files)]
        yield Job(source, out / source.name, "overwrite")


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Look for memory that grows.")
    parser.add_argument("--early", type=int, default=200, help="files before the first look")
    parser.add_argument("--late", type=int, default=2000, help="files before the second look")
    parser.add_argument("--style", default=DEFAULT_STYLE)
    parser.add_argument("--engine", default="auto")
    options = parser.parse_args(arguments)
    if not 1 <= options.early < options.late:
        parser.error("--early is at least 1, and less than --late")
    return options


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Run it; `arguments` are the command line's."""
    options = parse_options(arguments)
    style = load_style(options.style, engine=options.engine)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = make_pictures(folder)
        sizes = {}
        todo = jobs(files, folder / "out", options.late)
        for number, outcome in enumerate(convert_all(todo, Converter(style)), 1):
            if outcome.error:
                raise outcome.error
            if number in (options.early, options.late):
                sizes[number] = resident_mib()
    early, late = sizes.values()
    print(f"{style.card.name}, {style.session.name}")
    print(f"after {options.early} files {early:.1f} MiB, after {options.late} {late:.1f} MiB")
    count = f"memory after {options.late} files / after {options.early}"
    ratios = [Ratio(count, late / early, at_most=1.05)]
    print_ratios(ratios)
    return ratios


if __name__ == "__main__":
    main()
