"""Compare pictures drawn in bfloat16 and int8 with those drawn in float32, and the time they take.

Run `python benchmarks/precision.py`; docs/benchmarks.md says what the columns mean.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from machine import machine
from toonbox.engine.session import Session, open_session
from toonbox.engine.style import MODEL, Style, find_style, read_card, style_names
from toonbox.errors import UsageError
from toonbox.images.picture import decode
from toonbox.pixels import Uint8Array, to_eight_bits

EXAMPLES = Path(__file__).parents[1] / "examples"
MOVES = ("Unsqueeze", "Split", "Pad", "DepthToSpace", "Cast")  # operations that round nothing


def emulate(model: onnx.ModelProto, kind: int = TensorProto.BFLOAT16) -> onnx.ModelProto:
    """Round what each operation reads and makes to 16 bits, as OpenVINO does, or more often.

    Both sum products in float32, and leave in float32 what follows the last convolution.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    makers = {name: node for node in made.graph.node for name in node.output}
    tail, waiting = [], [each.name for each in made.graph.output]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.op_type not in ("Conv", "Gemm") and node not in tail:
            tail.append(node)
            waiting += node.input
    nodes, rounded = [], {}

    def round_off(name: str) -> None:
        rounded[name] = f"{name}_rounded"
        nodes.append(helper.make_node("Cast", [name], [f"{name}_short"], to=kind))
        nodes.append(
            helper.make_node("Cast", [f"{name}_short"], [rounded[name]], to=TensorProto.FLOAT)
        )

    ends = {each.name for each in made.graph.input}
    for name in sorted(ends):
        round_off(name)
    for node in made.graph.node:
        kept = ends if node in tail else set()
        node.input[:] = [each if each in kept else rounded.get(each, each) for each in node.input]
        nodes.append(node)
        weights = node.op_type == "Cast"  # of weights, which are stored as halves
        if weights or (node not in tail and node.op_type not in MOVES):
            round_off(node.output[0])
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def psnr(expected: Sequence[Uint8Array], found: Sequence[Uint8Array]) -> list[float]:
    """Give the ratio of the peak to the mean squared difference, dB, of each pair of pictures."""
    errors = [
        np.square(a - b.astype(np.float32)).mean() for a, b in zip(expected, found, strict=True)
    ]
    return [10 * float(np.log10(255**2 / max(error, 1e-9))) for error in errors]


def seconds_in_turn(
    sessions: Sequence[Session], size: tuple[int, int], knobs: int, repeats: int
) -> list[float]:
    """Give the least processor seconds of a run of each network on noise."""
    photo = np.random.default_rng(0).uniform(-1, 1, (1, 3, *size)).astype(np.float32)
    settings = np.ones((1, knobs), np.float32) if knobs else None
    least = [float("inf")] * len(sessions)
    for _ in range(repeats + 1):
        for index, session in enumerate(sessions):
            start = time.process_time()
            session.run(photo, settings)
            least[index] = min(least[index], time.process_time() - start)
    return least


def compare(name: str, photos: Sequence[Uint8Array], repeats: int, save: Path | None) -> None:
    """Print the rows of a style."""
    folder = find_style(name)
    card = read_card(folder)
    sessions: dict[str, Session] = {
        "float32": open_session(folder / MODEL, "openvino", threads=1, precision="float32")
    }
    for precision in ("bfloat16", "int8"):
        try:
            sessions[precision] = open_session(folder / MODEL, threads=1, precision=precision)
        except UsageError as error:
            print(f"{card.name}: {error}")
    timed = list(sessions)
    multiple = card.size_multiple
    size = (card.working_resolution // multiple * multiple,) * 2
    seconds = seconds_in_turn([*sessions.values()], size, len(card.knobs), repeats)
    with tempfile.TemporaryDirectory() as temporary:
        for label, kind in (("bfloat16", TensorProto.BFLOAT16), ("float16", TensorProto.FLOAT16)):
            file = Path(temporary, f"{label}.onnx")
            onnx.save(emulate(onnx.load(folder / MODEL), kind), file)
            sessions[f"{label}, emulated"] = open_session(file, "onnxruntime", threads=1)
    drawn = {}
    for label, session in sessions.items():
        style = Style(card, session)
        small = [style.sketch(photo)[1] for photo in photos]
        drawn[label] = small
        if save:
            save.mkdir(parents=True, exist_ok=True)
            for index, picture in enumerate(small):
                Image.fromarray(picture).save(save / f"{card.name}-{index}-{label}.png")
        ratios = psnr(drawn["float32"], small)
        largest = max(
            int(np.abs(a.astype(int) - b).max())
            for a, b in zip(drawn["float32"], small, strict=True)
        )
        row = f"{card.name:12}{label:20}"
        if label != "float32":
            row += f"{np.mean(ratios):9.1f}{min(ratios):9.1f}{largest:9}"
        if label in timed:
            took = seconds[timed.index(label)]
            row = f"{row:59}{took:9.3f}{seconds[0] / took:8.2f}x"
        print(row, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it; `arguments` are the command line's."""
    parser = argparse.ArgumentParser(description="Compare lower precisions with float32.")
    parser.add_argument("--style", action="append", help="default: all")
    parser.add_argument("--photos", type=Path, default=EXAMPLES, help="folder of JPEG files")
    parser.add_argument("--count", type=int, default=8, help="photos at most")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs of each network")
    parser.add_argument("--save", type=Path, metavar="DIR", help="keep the pictures here")
    options = parser.parse_args(arguments)
    files = sorted(options.photos.glob("*.jpg"))
    files = files[:: max(1, len(files) // options.count)][: options.count]
    photos = [to_eight_bits(decode(file).rgb) for file in files]
    print(f"{len(photos)} photos, {machine()['abilities']}")
    print(f"{'':32}{'mean dB':>9}{'least':>9}{'levels':>9}{'seconds':>9}{'speed':>9}")
    for style in options.style or style_names():
        compare(style, photos, options.repeats, options.save)


if __name__ == "__main__":
    main()
