"""Time many pictures: batches through the network, and files side by side.

Run `python benchmarks/many.py`; docs/benchmarks.md says what the rows mean.
"""

import argparse
import io
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageOps

from ratios import Ratio, print_ratios
from toonbox.engine.session import open_session
from toonbox.engine.style import MODEL, Style, find_style, load_style, read_card
from toonbox.options import DEFAULT_STYLE
from toonbox.parallel import available_processors
from toonbox.pixels import FloatArray, to_signed

EXAMPLES = Path(__file__).parents[1] / "examples"
Run = Callable[[], object]


def photos(count: int, width: int, height: int) -> list[Image.Image]:
    """Give the examples in this size, over and over."""
    files = sorted(EXAMPLES.glob("*.jpg"))
    images = [Image.open(files[number % len(files)]) for number in range(count)]
    return [ImageOps.fit(image.convert("RGB"), (width, height)) for image in images]


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def in_batches(engine: str, pictures: FloatArray, size: int, threads: int) -> Run:
    """Give what sends (N, 3, H, W) through the bare network, `size` at a time."""
    folder = find_style(DEFAULT_STYLE)
    session = open_session(folder / MODEL, engine, threads)
    knobs = np.ones((1, len(read_card(folder).knobs)), np.float32) if session.takes_knobs else None

    def run() -> None:
        for first in range(0, len(pictures), size):
            session.run(pictures[first : first + size], knobs)

    return run


def mapped(style: Style, files: list[bytes]) -> None:
    for _ in style.map(Image.open(io.BytesIO(file)) for file in files):
        pass


def one_after_the_other(style: Style, files: list[bytes]) -> None:
    for file in files:
        style(Image.open(io.BytesIO(file)))


def compare(title: str, ways: dict[str, Run], repeats: int) -> float:
    """Time by turns, and print medians; return how much faster the last is than the first."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(repeats + 1):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            if round_number > 0:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    print(f"\n{title:42}{'seconds':>9}{'speed-up':>10}")
    peer = median(next(iter(seconds.values())))
    for name, taken in seconds.items():
        print(f"  {name:40}{median(taken):9.3f}{peer / median(taken):9.2f}x")
    return peer / median(taken)


def compare_batches(images: Sequence[Image.Image], threads: int, repeats: int) -> None:
    signed = [to_signed(np.asarray(image)).transpose(2, 0, 1) for image in images]
    stacked = np.ascontiguousarray(np.stack(signed))
    for engine in ("onnxruntime", *(["openvino"] if find_spec("openvino") else [])):
        sizes = [size for size in (1, 2, 4, 8) if size <= len(images)]
        ways: dict[str, Run] = {
            "one at a time" if size == 1 else f"{size} at a time": in_batches(
                engine, stacked, size, threads
            )
            for size in sizes
        }
        compare(f"network alone, {engine}", ways, repeats)


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time batches, and files side by side.")
    parser.add_argument("--count", type=int, default=8, help="pictures in each run")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each")
    parser.add_argument("--threads", type=int, default=available_processors())
    parser.add_argument("--side", type=int, default=512, help="of the network's square pictures")
    parser.add_argument("--megapixels", type=float, default=12, help="of the files, 4:3")
    options = parser.parse_args(arguments)
    if min(options.count, options.repeats, options.threads) < 1 or options.side % 8:
        parser.error("all at least 1, --side a multiple of 8")
    return options


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Run it; `arguments` are the command line's."""
    options = parse_options(arguments)
    print(f"{options.count} pictures, {options.threads} threads, median of {options.repeats}")
    small = photos(options.count, options.side, options.side)
    compare_batches(small, options.threads, options.repeats)
    height = max(8, round((options.megapixels * 1e6 * 3 / 4) ** 0.5))
    files = [jpeg(image) for image in photos(options.count, height * 4 // 3, height)]
    style = load_style(engine="onnxruntime", threads=options.threads)
    ways: dict[str, Run] = {
        "one after the other": partial(one_after_the_other, style, files),
        "a list": partial(mapped, style, files),
    }
    faster = compare(f"JPEG files of {options.megapixels:g} megapixels", ways, options.repeats)
    ratios = [Ratio("a list of files / one after the other, rates", faster, 1)]
    print()
    print_ratios(ratios)
    return ratios


if __name__ == "__main__":
    main()
