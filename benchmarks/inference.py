"""Time our network and the authors', engine by engine, and the whole command.

Run `python benchmarks/inference.py`; docs/benchmarks.md says what the columns mean.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from math import prod
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import torch
from PIL import Image, ImageOps

from ratios import Ratio, print_ratios
from toonbox.engine.session import open_session
from toonbox.engine.style import MODEL, find_style, load_style, read_card
from toonbox.images.encode import QUALITY
from toonbox.learn.export import to_onnx
from toonbox.learn.generator import KNOBS
from toonbox.learn.import_tfjs import AuthorsGenerator
from toonbox.options import DEFAULT_STYLE
from toonbox.parallel import available_processors
from toonbox.pixels import FloatArray, from_signed, to_signed

EXAMPLES = Path(__file__).parents[1] / "examples"
FAST_STYLE = "comic-fast"
MATRIX_SIDE = 2048
# Idle threads of most engines spin for a while; the next contender should not pay for it.
PAUSE = 0.1


@dataclass
class Contender:
    """Something that can be timed, how much it computes, and how long it took."""

    name: str
    run: Callable[[], object]
    gflop: float = 0.0
    seconds: list[float] = field(default_factory=list)


def time_in_turn(contenders: Sequence[Contender], repeats: int) -> None:
    """Time all of them once in each round, so that a slow moment of the machine hits all."""
    for round_number in range(repeats + 1):
        for contender in contenders:
            time.sleep(PAUSE)
            start = time.perf_counter()
            contender.run()
            if round_number > 0:  # the first one warms up
                contender.seconds.append(time.perf_counter() - start)


def convolution_gflop(model: onnx.ModelProto, height: int, width: int) -> float:
    """Count 2 x the multiply-adds of a network's convolutions, from the shapes of its graph."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for dim, value in zip(
        sized.graph.input[0].type.tensor_type.shape.dim, (1, 3, height, width), strict=True
    ):
        dim.dim_value = value
    sized.graph.output[0].type.tensor_type.ClearField("shape")
    del sized.graph.value_info[:]  # they name the free sizes
    graph = onnx.shape_inference.infer_shapes(sized, strict_mode=True, data_prop=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.output):
        shapes[value.name] = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    multiply_adds: int = sum(
        prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])
        for node in graph.node
        if node.op_type == "Conv"
    )
    return 2e-9 * multiply_adds


def write_photo(file: Path, width: int, height: int) -> FloatArray:
    """Write the first example in this size; give it as (1, 3, H, W) in [-1, 1]."""
    with Image.open(min(EXAMPLES.glob("*.jpg"))) as opened:
        photo = ImageOps.fit(opened.convert("RGB"), (width, height))
    photo.save(file, quality=92)
    return np.ascontiguousarray(to_signed(np.asarray(photo)).transpose(2, 0, 1)[None])


def engine_contenders(
    name: str, file: Path, engines: Sequence[str], photo: FloatArray, threads: int
) -> list[Contender]:
    """Give a network's file in each engine."""
    gflop = convolution_gflop(onnx.load(file), *photo.shape[2:])
    contenders = []
    for engine in engines:
        session = open_session(file, engine, threads, precision="float32")
        knobs = np.ones((1, len(KNOBS)), np.float32) if session.takes_knobs else None
        run = partial(session.run, photo, knobs)
        contenders.append(Contender(f"{name}, {engine}", run, gflop))
    return contenders


def authors_contenders(folder: Path, photo: FloatArray, threads: int) -> list[Contender]:
    """Give the authors' network in torch, one operation after the other, and in ONNX Runtime."""
    torch.manual_seed(0)
    network = AuthorsGenerator().eval()
    file = folder / "authors.onnx"
    onnx.save(to_onnx(network, network.size_multiple), file)
    in_engine = engine_contenders("authors' network", file, ["onnxruntime"], photo, threads)
    tensor = torch.from_numpy(photo)

    def run() -> None:
        with torch.no_grad():
            network(tensor)

    return [Contender("authors' network, torch eager", run, in_engine[0].gflop), *in_engine]


def matrix_product() -> Contender:
    """Give what the processors do best."""
    random = torch.Generator().manual_seed(0)
    one, other = (torch.rand(MATRIX_SIDE, MATRIX_SIDE, generator=random) for _ in range(2))
    return Contender("matrix product", lambda: torch.mm(one, other), 2e-9 * MATRIX_SIDE**3)


def command(photo: Path, style: Path, threads: int) -> Contender:
    """Give the whole command, from starting Python to the written file."""
    arguments = f"--engine onnxruntime --threads {threads} --force".split()
    files = [str(photo), "-o", str(photo.with_suffix(".toon.jpg")), "--style", str(style)]
    line = [sys.executable, "-m", "toonbox", *files, *arguments]
    # Installed packages have bytecode; here the first run, which warms up, writes it.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    run = partial(subprocess.run, line, check=True, capture_output=True, env=environment)
    return Contender("command", run)


def whole_call(name: str, threads: int, photo: FloatArray, engine: str = "auto") -> Contender:
    """Give a loaded style's whole call at its default size: array in, array out."""
    style = load_style(name, engine=engine, threads=threads)
    used = f"{style.session.name} {style.session.precision}"
    array = np.ascontiguousarray(from_signed(photo[0].transpose(1, 2, 0)))
    return Contender(f"{name}, whole call, {used}", lambda: style(array))


def codec(photo: Path) -> Contender:
    """Give the photo's decoding and encoding alone."""

    def run() -> None:
        with Image.open(photo) as opened:
            opened.convert("RGB").save(io.BytesIO(), "JPEG", quality=QUALITY, subsampling=0)

    return Contender("decoding and encoding", run)


def import_time() -> tuple[float, bool]:
    """Give the milliseconds of all imports behind `import toonbox`, and whether torch is one."""
    line = [sys.executable, "-X", "importtime", "-c", "import toonbox"]
    report = subprocess.run(line, check=True, capture_output=True, text=True).stderr
    rows = [row.split("|") for row in report.splitlines() if row.count("|") == 2]
    modules = {name.strip(): int(own.rpartition(":")[2]) for own, _, name in rows[1:]}
    return sum(modules.values()) / 1000, "torch" in modules


def print_table(contenders: Sequence[Contender], matrix: Contender, authors: Contender) -> None:
    best, usual = min(matrix.seconds), median(authors.seconds)
    rows = [(c.name, median(c.seconds), c.gflop) for c in contenders]
    rows.append(("matrix product, at its best", best, matrix.gflop))
    print(f"{'':32}{'seconds':>9}{'GFLOP':>9}{'GFLOP/s':>9}{'of peak':>9}{'speed-up':>10}")
    for name, seconds, gflop in rows:
        rate = gflop / seconds
        speed_up = "" if name.startswith("matrix") else f"{usual / seconds:.2f}x"
        of_peak = rate / (matrix.gflop / best)
        print(f"{name:32}{seconds:9.4f}{gflop:9.2f}{rate:9.1f}{of_peak:9.0%}{speed_up:>10}")


def ratios_of(
    calls: Sequence[Contender], authors: Contender, whole: Contender, parts: Sequence[Contender]
) -> list[Ratio]:
    """Compare whole calls with the peer, and find what the command takes beside its work."""
    times = [median(call.seconds) for call in calls]
    pace = median(authors.seconds)
    beside = median(whole.seconds) - sum(median(part.seconds) for part in parts)
    of_peer = "loaded, whole call / authors' network in torch eager, rates"
    return [
        Ratio(f"{DEFAULT_STYLE}, {of_peer}", pace / times[0], 15),
        Ratio(f"{FAST_STYLE}, loaded, whole call / the same", pace / times[1], 40),
        Ratio("seconds of the command beside drawing and codec", beside, at_most=0.35),
    ]


def print_setting(options: argparse.Namespace) -> None:
    versions = []
    for package in ("toonbox", "torch", "onnxruntime", "openvino"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"no {package}")
    width, height = options.size
    print(", ".join(versions))
    print(f"{width}x{height}, float32, {options.threads} threads, median of {options.repeats}\n")


def width_x_height(text: str) -> tuple[int, int]:
    width, height = (int(side) for side in text.lower().split("x"))
    if min(width, height) < 1:
        raise ValueError("a side is not positive")
    return width, height


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time the networks, the engines, the command.")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each")
    parser.add_argument("--threads", type=int, default=available_processors())
    parser.add_argument("--size", type=width_x_height, default=(1280, 720), metavar="WxH")
    options = parser.parse_args(arguments)
    if options.repeats < 1 or options.threads < 1:
        parser.error("--repeats and --threads are at least 1")
    if any(side % 8 for side in options.size):
        parser.error("--size: both sides must be multiples of 8, or the networks would pad them")
    return options


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Run it; `arguments` are the command line's."""
    options = parse_options(arguments)
    threads: int = options.threads
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        style = find_style(DEFAULT_STYLE)
        photo = write_photo(folder / "photo.jpg", *options.size)
        engines = ["onnxruntime", *(["openvino"] if find_spec("openvino") else [])]
        name = read_card(style).name
        ours = engine_contenders(name, style / MODEL, engines, photo, threads)
        authors = authors_contenders(folder, photo, threads)
        calls = [whole_call(name, threads, photo) for name in (DEFAULT_STYLE, FAST_STYLE)]
        drawing = whole_call(name, threads, photo, "onnxruntime")  # as the command does it
        matrix = matrix_product()
        whole = command(folder / "photo.jpg", style, threads)
        parts = [drawing, codec(folder / "photo.jpg")]
        time_in_turn([*ours, *authors, *calls, matrix, whole, *parts], options.repeats)
    print_setting(options)
    print_table([*ours, *authors], matrix, authors[0])
    print()
    for contender in (*calls, *parts, whole):
        print(f"{contender.name:40}{median(contender.seconds):9.4f}")
    milliseconds, with_torch = import_time()
    print(f"import toonbox {milliseconds:.0f} ms, torch imported: {'YES' if with_torch else 'no'}")
    ratios = ratios_of(calls, authors[0], whole, parts)
    print()
    print_ratios(ratios)
    return ratios


if __name__ == "__main__":
    main()
