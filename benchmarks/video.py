"""Time a video through the whole command, and where the time goes; docs/benchmarks.md explains.

Run `python benchmarks/video.py`. The peers, in the same run: the video decoded and encoded without
anything between, and a plain loop over its frames with the authors' network in torch eager.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import median

import av
import cv2
import numpy as np
import torch
from PIL import Image

from growth_peers import codec_of_video
from ratios import Ratio, print_ratios
from toonbox.engine.style import load_style
from toonbox.learn.import_tfjs import AuthorsGenerator
from toonbox.options import StyleOptions
from toonbox.parallel import available_processors
from toonbox.pixels import from_signed, to_signed
from toonbox.video.planes import to_frame, to_yuv, upsample_luma
from toonbox.video.read import read_frames, read_video
from toonbox.video.steadying import Stabilizer
from toonbox.video.stylizer import EVERY, usual_jobs, video_style_options

EXAMPLES = Path(__file__).parents[1] / "examples"


def make_film(path: Path, size: tuple[int, int], frames: int) -> None:
    """Pan over a photo, with noise: every frame differs from the one before."""
    width, height = size
    random = np.random.default_rng(0)
    photo = Image.open(EXAMPLES / "boats.jpg").convert("RGB")
    large = np.asarray(photo.resize((width + 3 * frames, height + frames))).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", Fraction(24), options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            part = large[index : index + height, 3 * index : 3 * index + width]
            noisy = part + random.integers(-3, 4, part.shape, dtype=np.int16)
            rgb = np.ascontiguousarray(np.clip(noisy, 0, 255).astype(np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        container.mux(stream.encode())


def command(film: Path, style: str, resolution: int, stabilize: str) -> float:
    """Time the whole command, from starting Python to the written file."""
    target = film.with_name("toon.mp4")
    arguments = [str(film), "-o", str(target), "--force", "--style", style]
    arguments += ["--resolution", str(resolution), "--stabilize", stabilize]
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "toonbox", *arguments], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - began


def decode_and_encode(film: Path) -> float:
    began = time.perf_counter()
    codec_of_video(film)
    return time.perf_counter() - began


def authors_loop(film: Path, frames: int) -> float:
    """Time what people run today: a frame, the network at full size, the next frame."""
    network = AuthorsGenerator().eval()
    done = 0
    began = time.perf_counter()
    with (
        torch.inference_mode(),
        av.open(str(film)) as source,
        av.open(str(film.with_name("authors.mp4")), "w") as target,
    ):
        stream = target.add_stream("libx264", Fraction(24))
        stream.pix_fmt = "yuv420p"
        stream.width, stream.height = source.streams.video[0].width, source.streams.video[0].height
        for frame in source.decode(video=0):
            rgb = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
            signed = torch.from_numpy(to_signed(rgb.transpose(2, 0, 1)[None]))
            cartoon = from_signed(network(signed)[0].numpy()).transpose(1, 2, 0)
            drawn = av.VideoFrame.from_ndarray(np.ascontiguousarray(cartoon), "rgb24")
            target.mux(stream.encode(drawn))
            done += 1
            if done == frames:
                break
        target.mux(stream.encode())
    return time.perf_counter() - began


def parts_of_a_frame(film: Path, style: str, resolution: int) -> dict[str, float]:
    """Measure the processor seconds that each part of one frame's way takes, on one core.

    Network and steadying are divided by the frames of which one is drawn.
    """
    loaded = load_style(style, threads=1)
    video = read_video(film)
    frames = list(itertools.islice(read_frames(video), 3))
    working = loaded.working_size(video.size[::-1], resolution)[::-1]
    photos = [frame.resized(working) for frame in frames]
    wanted = StyleOptions(resolution="native")
    cartoons = [loaded.sketch(photo, wanted)[1] for photo in photos]
    colours, frame = video.colours.written, frames[1]
    cv2.setNumThreads(1)
    steady, turns = Stabilizer("on"), itertools.cycle(range(3))
    small, cartoon = (to_yuv(picture[1], colours) for picture in (photos, cartoons))
    luma = upsample_luma(frame.luma(), small[..., 0], cartoon[..., 0])

    def steadying() -> None:
        turn = next(turns)
        steady(photos[turn], cartoons[turn])

    def carrying() -> None:
        steady.carry(photos[next(turns)], lambda part: part)

    return {
        "reduced YUV to RGB": processor_seconds(lambda: frame.resized(working)),
        "network": processor_seconds(lambda: loaded.sketch(photos[1], wanted)) / EVERY,
        "steadying": processor_seconds(steadying) / EVERY,
        "carrying": processor_seconds(carrying) * (1 - 1 / EVERY),
        "RGB to YUV": 2 * processor_seconds(lambda: to_yuv(photos[1], colours)),
        "guided upsampling": processor_seconds(
            lambda: upsample_luma(frame.luma(), small[..., 0], cartoon[..., 0])
        ),
        "colours enlarged": processor_seconds(lambda: to_frame(luma, cartoon, colours)),
    }


def processor_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    work()
    began = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - began) / repeats


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time a video through the whole command.")
    parser.add_argument("--style", default="comic-fast")
    parser.add_argument("--resolution", type=int, help="default: the style's own, 540 at most")
    parser.add_argument("--size", default="1280x720", metavar="WxH")
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--repeats", type=int, default=3, help="turns, of which the median counts")
    parser.add_argument("--authors-frames", type=int, default=6)
    options = parser.parse_args(arguments)
    options.size = tuple(int(side) for side in options.size.split("x"))
    if min(options.frames - 1, options.repeats, options.authors_frames, *options.size) < 1:
        parser.error("sizes and numbers are at least 1, --frames 2")
    if any(side % 8 for side in options.size):
        parser.error("--size: both sides must be multiples of 8, as the authors' network wants")
    return options


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Run it; `arguments` are the command line's."""
    options = parse_options(arguments)
    wanted = StyleOptions(resolution=options.resolution)
    options.resolution = video_style_options(load_style(options.style), wanted).resolution
    torch.set_num_threads(available_processors())
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        make_film(film, options.size, options.frames)
        frames, few = options.frames, min(options.frames, options.authors_frames)
        contenders = {
            "decode and encode alone": partial(decode_and_encode, film),
            **{
                f"whole command, --stabilize {how}": partial(
                    command, film, options.style, options.resolution, how
                )
                for how in ("on", "off")
            },
        }
        turns = [[time() for time in contenders.values()] for _ in range(options.repeats)]
        medians = [frames / median(seconds) for seconds in zip(*turns, strict=True)]
        rates = dict(zip(contenders, medians, strict=True))
        rates["authors' network, torch eager, plain loop"] = few / authors_loop(film, few)
        parts = parts_of_a_frame(film, options.style, options.resolution)
    slowest = rates["authors' network, torch eager, plain loop"]
    width, height = options.size
    print(f"{width}x{height}, {frames} frames, {options.style} at {options.resolution},", end=" ")
    print(f"{available_processors()} cores, {usual_jobs()} frames at a time\n")
    for name, rate in rates.items():
        print(f"{name:44}{rate:9.3f} fps{rate / slowest:9.1f}x")
    print("\nprocessor time of a frame beside decoding and encoding")
    for name, seconds in parts.items():
        print(f"{name:44}{seconds * 1000:9.1f} ms{seconds / sum(parts.values()):9.0%}")
    codec, steadied = rates["decode and encode alone"], rates["whole command, --stabilize on"]
    ratios = [
        Ratio("video, steadied / what decoding and encoding allow, rates", steadied / codec, 0.5),
        Ratio("video, steadied / plain loop, rates", steadied / slowest, 20),
    ]
    print()
    print_ratios(ratios)
    return ratios


if __name__ == "__main__":
    main()
