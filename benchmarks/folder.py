"""Time a folder of photos against what network and codec allow, and against a plain loop.

Run `python benchmarks/folder.py`; it makes photos of 12 megapixels from examples/ (or --photos) in
a temporary folder. Three contenders take turns, one share of the photos after the other, all with
the same number of threads:

- folder: `convert_all`, what `toonbox FOLDER` runs, in this process, with the style loaded.
- allowed: what network and codec alone allow. The files are read into arrays and arrays of that
  size written, with the options that toonbox writes with, in as many threads as there are cores;
  then the network runs once for each photo on one already reduced, also with all cores. The sum of
  both times is what a program would take that kept every core busy and did nothing else: neither
  reducing, nor carrying the result over to the full size, nor waiting.
- plain loop: the authors' network in torch eager, one photo after the other: read, reduced to a
  short side of 720 pixels, run, written at that size.

Where other programs take the cores away, seconds by the clock say little; the seconds that the
cores worked on a contender, which stand beside them, say more.
"""

import argparse
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from inference import EXAMPLES, PAUSE
from ratios import Ratio, print_ratios
from toonbox.convert.job import Converter, Job, convert_all
from toonbox.engine.style import Style, load_style
from toonbox.images.encode import QUALITY
from toonbox.learn.import_tfjs import AuthorsGenerator
from toonbox.options import DEFAULT_STYLE
from toonbox.parallel import available_processors
from toonbox.pixels import FloatArray, from_signed, to_signed

SIZE = (4000, 3000)
AUTHORS_SHORT_SIDE = 720
SHARE = 50  # photos that a contender works on before the next takes its turn
WARM_UP = 2
Times = tuple[float, float]  # by the clock, and of all cores together
JPEG = {"quality": QUALITY, "subsampling": "4:4:4"}


def make_photos(sources: Path, folder: Path, count: int) -> list[Path]:
    """Write photos of 12 megapixels, each a different cut of one of the sources."""
    found = sorted(sources.glob("*.jpg"))
    files = []
    for number, source in zip(range(count), itertools.cycle(found)):
        with Image.open(source) as opened:
            share = 0.5 + 0.5 * ((number // len(found) * 0.37) % 1)
            photo = ImageOps.fit(opened.convert("RGB"), SIZE, bleed=(1 - share) / 4)
        files.append(folder / f"{number:04}.jpg")
        photo.save(files[-1], quality=92)
    return files


def run_folder(files: Sequence[Path], out: Path, style: Style) -> None:
    jobs = [Job(file, out / file.name, "overwrite") for file in files]
    for outcome in convert_all(jobs, Converter(style)):
        if outcome.error:
            raise outcome.error


def run_codec(files: Sequence[Path], threads: int) -> None:
    def convert(file: Path) -> None:
        with Image.open(file) as opened:
            array = np.asarray(opened)
        with tempfile.TemporaryFile() as out:  # into memory, Pillow would encode one at a time
            Image.fromarray(array).save(out, "JPEG", **JPEG)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(convert, files))


def network_input(file: Path, style: Style) -> FloatArray:
    """Give zeros of the size at which the network works on a photo."""
    with Image.open(file) as opened:
        sides = style.seen(np.asarray(opened)).shape[:2]
    multiple = style.card.size_multiple
    height, width = (-(-side // multiple) * multiple for side in sides)
    return np.zeros((1, 3, height, width), np.float32)


def run_network(inputs: Sequence[FloatArray], style: Style) -> None:
    knobs = np.ones((1, len(style.card.knobs)), np.float32) if style.card.knobs else None
    for photo in inputs:
        style.session.run(photo, knobs)


def run_plain_loop(files: Sequence[Path], out: Path, network: AuthorsGenerator) -> None:
    width, height = (side * AUTHORS_SHORT_SIDE // min(SIZE) // 4 * 4 for side in SIZE)
    for file in files:
        with Image.open(file) as opened:
            photo = np.asarray(opened.resize((width, height), Image.Resampling.BICUBIC))
        batch = torch.from_numpy(to_signed(photo).transpose(2, 0, 1)[None].copy())
        with torch.no_grad():
            cartoon = network(batch)[0].numpy().transpose(1, 2, 0)
        Image.fromarray(from_signed(cartoon)).save(out / file.name, quality=QUALITY)


def time_shares(
    files: Sequence[Path], contenders: dict[str, Callable[[Sequence[Path]], None]]
) -> dict[str, Times]:
    """Let the contenders take turns, share by share; give seconds and processor seconds of each."""
    seconds = dict.fromkeys(contenders, (0.0, 0.0))
    for run in contenders.values():
        run(files[:WARM_UP])
    for start in range(0, len(files), SHARE):
        for name, run in contenders.items():
            time.sleep(PAUSE)
            clock, worked = time.perf_counter(), time.process_time()
            run(files[start : start + SHARE])
            worked, clock = time.process_time() - worked, time.perf_counter() - clock
            seconds[name] = (seconds[name][0] + clock, seconds[name][1] + worked)
    return seconds


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time a folder of photos of 12 megapixels.")
    parser.add_argument("--count", type=int, default=200, help="how many photos")
    parser.add_argument("--photos", type=Path, default=EXAMPLES, help="what to make them from")
    parser.add_argument("--style", default=DEFAULT_STYLE)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int, default=available_processors())
    options = parser.parse_args(arguments)
    if options.count < 1 or options.threads < 1:
        parser.error("--count and --threads are at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Run it; `arguments` are the command line's."""
    options = parse_options(arguments)
    threads: int = options.threads
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    style = load_style(options.style, engine=options.engine, threads=threads)
    network = AuthorsGenerator().eval()
    with tempfile.TemporaryDirectory() as temporary:
        photos, out = Path(temporary) / "photos", Path(temporary) / "out"
        photos.mkdir()
        out.mkdir()
        files = make_photos(options.photos, photos, options.count)
        inputs = {file: network_input(file, style) for file in files}
        seconds = time_shares(
            files,
            {
                "folder": lambda share: run_folder(share, out, style),
                "codec alone": lambda share: run_codec(share, threads),
                "network alone": lambda share: run_network([inputs[f] for f in share], style),
                "plain loop": lambda share: run_plain_loop(share, out, network),
            },
        )
        shutil.rmtree(out)
    ratios = print_rates(seconds, options, style)
    print_ratios(ratios)
    return ratios


def print_rates(
    seconds: dict[str, Times], options: argparse.Namespace, style: Style
) -> list[Ratio]:
    count: int = options.count
    name = f"{style.card.name}, {style.session.name}"
    print(f"{count} photos of {SIZE[0]}x{SIZE[1]}, {name}, {options.threads} threads\n")
    codec, network = seconds["codec alone"], seconds["network alone"]
    allowed = seconds["allowed"] = codec[0] + network[0], codec[1] + network[1]
    print(f"{'':16}{'seconds':>9}{'of cores':>10}{'photos/s':>10}")
    for contender, (taken, worked) in seconds.items():
        print(f"{contender:16}{taken:9.2f}{worked:10.2f}{count / taken:10.2f}")
    ours, plain = seconds["folder"], seconds["plain loop"]
    print()
    return [
        Ratio("folder / what network and codec allow, rates", allowed[0] / ours[0], 0.9),
        Ratio("the same by seconds of cores", allowed[1] / ours[1]),
        Ratio("folder / plain loop, rates", plain[0] / ours[0], 3),
    ]


if __name__ == "__main__":
    main()
