"""Show how time and memory grow: with megapixels, length, files, workers and channels.

Run `make benchmarks`, or `python benchmarks/growth.py --quick`; docs/benchmarks.md says what the
panels of the page mean. Each point is a process of its own, of one thread for the network, so that
its largest size and its processor seconds are its own.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from heapq import heapify, heappop, heappush
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from growth_plot import LIMIT, Point, Series, draw
from inference import EXAMPLES, matrix_product
from machine import machine
from toonbox.convert.job import in_words
from toonbox.engine.style import load_style
from toonbox.images.encode import encode
from toonbox.images.picture import decode
from toonbox.learn.config import CropConfig, PretrainConfig, TrainConfig
from toonbox.learn.generator import GeneratorConfig
from toonbox.learn.state import channels_last, new_fabric, new_state
from toonbox.learn.train import one_step
from toonbox.options import DEFAULT_STYLE, RunOptions
from toonbox.parallel import available_processors
from training import InSequence, new_vgg
from video_memory import cost_of, make_film

PEERS = Path(__file__).with_name("growth_peers.py")
STEPS = 2  # timed ones of each training
PRODUCTS = 5  # timed matrix products
# Pictures that each simulated worker draws: enough for the start not to matter.
SIMULATED = 20


def toonbox(source: Path, style: str, *rest: str) -> list[str]:
    """Give the command that draws a file or a folder, with one thread for the network."""
    target = source.with_name(f"toon-{source.name}")
    arguments = [source, "-o", target, "--force", "--style", style, "--threads", "1", *rest]
    return [sys.executable, "-m", "toonbox", *map(str, arguments)]


def peer(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(PEERS), name, *map(str, arguments)]


def measure(at: float, command: list[str]) -> Point:
    """Run a command; give its seconds, processor seconds, and MB at most."""
    cost = cost_of(command)
    return {"at": at, "seconds": cost.seconds, "worked": cost.worked, "peak": cost.peak / 1e6}


def make_photo(path: Path, megapixels: float) -> None:
    """Write an example, enlarged and repeated, as a JPEG of 4:3 with sides that 4 divides."""
    height = 4 * round((megapixels * 1e6 * 3 / 4) ** 0.5 / 4)
    width = 4 * round(megapixels * 1e6 / height / 4)
    with Image.open(EXAMPLES / "boats.jpg") as opened:
        part = opened.convert("RGB").resize((min(width, 3000), min(height, 2250)))
    photo = Image.new("RGB", (width, height))
    for top in range(0, height, part.height):
        for left in range(0, width, part.width):
            photo.paste(part, (left, top))
    path.parent.mkdir()
    photo.save(path, quality=92)


def photos(options: argparse.Namespace, folder: Path) -> Series:
    """Measure one photo of each size, until the authors' network runs out of memory."""
    limit = f"{LIMIT}--max-memory {in_words(options.max_memory)}"
    found: Series = {"toonbox": [], "decode + encode": [], "authors' network, torch eager": []}
    ours, codec, authors = found.values()
    within = ["--max-memory", str(options.max_memory), "--max-pixels", str(10**9)]
    for number, size in enumerate(options.megapixels):
        photo = folder / str(number) / "photo.jpg"
        make_photo(photo, size)
        ours.append(measure(size, toonbox(photo, options.style, *within)))
        codec.append(measure(size, peer("codec", photo.parent)))
        if len(authors) == number:
            try:
                command = peer("authors", photo, options.peer_memory)
                authors.append(measure(size, command))
            except subprocess.CalledProcessError:
                most = in_words(options.peer_memory)
                print(f"the authors' network does not do {size:g} megapixels in {most}")
        shutil.rmtree(photo.parent)
    found[limit] = [{"at": size, "peak": options.max_memory / 1e6} for size in options.megapixels]
    return found


def videos(options: argparse.Namespace, folder: Path) -> Series:
    """Measure a video of each length."""
    found: Series = {"toonbox": [], "decode + encode": []}
    for seconds in options.lengths:
        video = folder / "video.mp4"
        make_film(video, options.video_size, seconds, options.rate)
        found["toonbox"].append(measure(seconds, toonbox(video, "comic-fast")))
        found["decode + encode"].append(measure(seconds, peer("codec_of_video", video)))
    return found


def make_folder(folder: Path, count: int, side: int) -> Path:
    """Write photos of 4:3 and so many pixels in width, each of the examples over and over."""
    folder.mkdir()
    files = sorted(EXAMPLES.glob("*.jpg"))
    for number, file in zip(range(count), itertools.cycle(files)):
        with Image.open(file) as opened:
            photo = opened.convert("RGB").resize((side, side * 3 // 4))
        photo.save(folder / f"{number:04}.jpg", quality=92)
    return folder


def folders(options: argparse.Namespace, folder: Path) -> Series:
    """Measure a folder of each number of files."""
    found: Series = {"toonbox": [], "decode + encode": []}
    for count in options.files:
        source = make_folder(folder / str(count), count, options.side)
        found["toonbox"].append(measure(count, toonbox(source, options.style)))
        found["decode + encode"].append(measure(count, peer("codec", source)))
    return found


def ray_workers(options: argparse.Namespace, folder: Path) -> Series:
    """Compare Ray workers on this machine with one process, by the clock."""
    source = make_folder(folder / "photos", options.pictures, options.worker_side)
    command = peer("workers", source, options.style, *options.workers)
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    rates: list[list[float]] = json.loads(ended.stdout.splitlines()[-1])
    counts, cores, first = options.workers, available_processors(), rates[0][1]
    lines = {
        "Ray": [shared for _, shared in rates],
        f"one process, {cores} threads, by turns": [alone for alone, _ in rates],
        f"{LIMIT}the first as many times, here up to {cores} cores": [
            first / counts[0] * min(count, cores) for count in counts
        ],
    }
    return {
        name: [{"at": count, "rate": rate} for count, rate in zip(counts, line, strict=True)]
        for name, line in lines.items()
    }


@dataclass(frozen=True)
class Service:
    """What one picture takes a worker.

    Attributes:
        reading: seconds for decoding, when its bytes are there.
        drawing: seconds.
        writing: seconds for encoding, before its bytes are sent.
        received: bytes.
        sent: bytes.
    """

    reading: float
    drawing: float
    writing: float
    received: int
    sent: int


def simulate(services: Sequence[Service], workers: int, pictures: int, bandwidth: float) -> float:
    """Give the seconds that workers take for pictures, all of which one object store holds.

    The store serves one transfer at a time, in the order in which they are asked for; each worker
    receives a picture, decodes, draws and encodes it, sends it, and takes the next.

    Args:
        services: of the pictures, over and over.
        workers: how many; each has a core.
        pictures: how many.
        bandwidth: bytes a second, of the store.
    """
    asking: list[tuple[float, int, Service | None]] = [(0.0, n, None) for n in range(workers)]
    heapify(asking)  # by time, then worker: each asks for one thing at a time
    todo = itertools.islice(itertools.cycle(services), pictures)
    free = 0.0  # when the store has served all who asked before
    while asking:
        now, worker, drawn = heappop(asking)
        if drawn:
            free = max(now, free) + drawn.sent / bandwidth
            heappush(asking, (free, worker, None))
        elif service := next(todo, None):
            free = max(now, free) + service.received / bandwidth
            done = free + service.reading + service.drawing + service.writing
            heappush(asking, (done, worker, service))
    return free


def measure_services(files: Iterable[Path], style_name: str) -> list[Service]:
    """Measure reading, drawing and writing, on one core."""
    style, services = load_style(style_name, threads=1), []
    for file in files:
        began = time.process_time()
        photo = decode(file)
        read = time.process_time()
        cartoon = style.draw(photo)
        drawn = time.process_time()
        data = encode(photo, cartoon, "JPEG")
        spent = read - began, drawn - read, time.process_time() - drawn
        services.append(Service(*spent, file.stat().st_size, len(data)))
    return services[1:]  # the first one warms up


def store(options: argparse.Namespace, folder: Path) -> Series:
    """Simulate workers on one object store, with service times of this machine."""
    source = make_folder(folder / "photos", options.services + 1, options.worker_side)
    services = measure_services(sorted(source.iterdir()), options.style)
    each = np.mean([(s.reading + s.drawing + s.writing, s.received + s.sent) for s in services], 0)
    bandwidth = options.bandwidth * 1e6
    alone, most = 1 / (each[0] + each[1] / bandwidth), bandwidth / each[1]
    found: Series = {"simulated": []}
    for count in options.simulated:
        pictures = count * SIMULATED
        rate = pictures / simulate(services, count, pictures, bandwidth)
        found["simulated"].append({"at": count, "rate": rate})
    found[f"{LIMIT}as many times one worker"] = [
        {"at": count, "rate": alone * count} for count in options.simulated
    ]
    found[f"{LIMIT}the store's {options.bandwidth:g} MB/s"] = [
        {"at": count, "rate": most} for count in options.simulated
    ]
    return found


def worked(run: Callable[[], object], times: int) -> float:
    """Give the processor seconds of one run, of several after one that warms up."""
    run()
    began = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - began) / times


def training(options: argparse.Namespace, folder: Path) -> Series:
    """Time adversarial steps on one core, against what their multiply-adds take at least."""
    torch.set_num_threads(1)
    matrix = matrix_product()
    product = 1e9 * matrix.gflop / worked(matrix.run, PRODUCTS)  # operations a second
    crop = options.crop
    cuts = []
    for _, file in zip(range(4), itertools.cycle(sorted(EXAMPLES.glob("*.jpg")))):
        with Image.open(file) as opened:
            cuts.append(np.asarray(opened.convert("RGB").resize((crop, crop))).transpose(2, 0, 1))
    pictures = torch.from_numpy(np.stack(cuts))
    batch = {"photo": pictures[:2], "cartoon": pictures[2:]}
    measured: list[Point] = []
    floor: list[Point] = []
    for channels in options.channels:
        config = TrainConfig(
            steps=STEPS + 2,
            pretrain=PretrainConfig("identity", steps=0),
            crops=CropConfig(crop, 2),
            generator=GeneratorConfig(base_channels=channels),
        )
        vgg = channels_last(new_vgg(config, None))
        state = new_state(config, new_fabric(RunOptions(folder, "cpu")), None)
        step = partial(one_step, state, batch, vgg, InSequence())
        with FlopCounterMode(display=False) as counter:
            step()
        operations = counter.get_total_flops()  # 2 for each multiply-add, forward and backward
        measured.append({"at": channels, "rate": 1 / worked(step, STEPS)})
        floor.append({"at": channels, "rate": product / operations, "operations": operations})
    return {"adversarial steps": measured, f"{LIMIT}multiply-adds at the matrix product": floor}


GROWTH = {
    "photo": photos,
    "video": videos,
    "folder": folders,
    "workers": ray_workers,
    "store": store,
    "training": training,
}
# As usual, and to be quick.
SIZES: dict[str, tuple[Sequence[float], Sequence[float]]] = {
    "megapixels": ([0.3, 1, 3, 12, 48, 100, 400], [0.1, 0.3, 1]),
    "lengths": ([10, 40, 150, 600], [2, 4]),
    "files": ([10, 100, 500, 2000], [4, 16]),
    "workers": ([1, 2, 3, 4], [1, 2]),
    "simulated": ([1, 3, 10, 30, 100, 300, 1000], [1, 10, 100, 1000]),
    "channels": ([8, 16, 32, 64], [8, 16]),
}


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Show how time and memory grow.")
    add = parser.add_argument
    add("--quick", action="store_true", help="few and small points")
    add("--only", action="append", choices=GROWTH, help="repeatable; keep the rest")
    add("--output", "-o", type=Path, default=Path("growth.png"), help="a PNG; JSON beside it")
    for name in SIZES:
        add(f"--{name}", type=float if name == "megapixels" else int, nargs="+")
    add("--style", default=DEFAULT_STYLE)
    add("--max-memory", type=int, default=1500 << 20, help="bytes; what takes more is streamed")
    add("--peer-memory", type=int, default=8 << 30, help="bytes, of the authors' network")
    add("--video-size", type=int, nargs=2, default=(320, 180), help="width and height")
    add("--rate", type=int, default=2, help="frames a second")
    add("--side", type=int, default=160, help="width of photos in folders")
    add("--worker-side", type=int, default=1024, help="width of photos for workers")
    add("--pictures", type=int, default=24, help="that workers draw")
    add("--services", type=int, default=8, help="pictures timed for the simulation")
    add("--bandwidth", type=float, default=1000, help="of the object store, MB/s")
    add("--crop", type=int, default=96, help="side of crops in training")
    options = parser.parse_args(arguments)
    for name, sizes in SIZES.items():
        if not getattr(options, name):
            setattr(options, name, sizes[options.quick])
        if min(getattr(options, name)) <= 0:
            parser.error(f"--{name}: all must be more than 0")
    if options.pictures < 2 * max(available_processors(), *options.workers):
        parser.error("--pictures: at least two for each worker and core")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it; `arguments` are the command line's."""
    options = parse_options(arguments)
    file = options.output.with_suffix(".json")
    found: dict[str, Series] = {}
    if options.only and file.exists():
        found = json.loads(file.read_text())["found"]
    for name in options.only or GROWTH:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found[name] = GROWTH[name](options, Path(folder))
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    about, day = machine(), f"{datetime.now(UTC):%Y-%m-%d}"
    note = f"toonbox {about['toonbox']}, {options.style}, {about['processor']}, {day}, "
    note += f"load at the end {os.getloadavg()[0]:.1f}: other programs are in it"
    kept = {"machine": about, "date": day, "found": found}
    file.write_text(json.dumps(kept, indent=1))
    draw(found, options.output, note)
    print(f"{options.output} and {file.name} are written")


if __name__ == "__main__":
    main()
