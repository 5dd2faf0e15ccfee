"""Measure how steady videos are, with and without `--stabilize`; docs/video.md explains.

Run `python benchmarks/steadiness.py`, or with videos of your own: `--video clip.mp4`. The peers, in
the same run: each frame's cartoon as it is drawn, and the video itself.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from ratios import Ratio, print_ratios
from toonbox.engine.style import load_style
from toonbox.pixels import FloatArray, Uint8Array
from toonbox.video.stylizer import video_frames

EXAMPLES = Path(__file__).parents[1] / "examples"
Film = list[Uint8Array]  # of (H, W, 3)


def make_film(path: Path, photo: str, size: tuple[int, int], frames: int, noise: float) -> None:
    """Pan and zoom over a photo by parts of a pixel, with noise of a camera, then compress it."""
    width, height = size
    random = np.random.default_rng(0)
    still = np.asarray(Image.open(EXAMPLES / photo).convert("RGB"))
    scale = 1.25 * max(width / still.shape[1], height / still.shape[0])
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", Fraction(24), options={"crf": "26"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            zoom = scale * (1 + 0.002 * index)
            move = np.array([[zoom, 0, -4 - 1.3 * index], [0, zoom, -3 - 0.7 * index]])
            frame = cv2.warpAffine(
                still, move, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT
            )
            noisy = np.rint(frame + random.normal(0, noise, frame.shape)).clip(0, 255)
            coded = av.VideoFrame.from_ndarray(noisy.astype(np.uint8), "rgb24")
            container.mux(video.encode(coded))
        container.mux(video.encode())


def motion(photos: Film) -> Iterator[tuple[FloatArray, Uint8Array]]:
    """Give, for each frame but the first, where its pixels were before, and which are known there.

    The mask is that of Ruder et al. 2016, which Lai et al. 2018 measure with: forth and back
    motion are the same, and no edge of motion is near.
    """
    greys = [cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY) for photo in photos]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width = greys[0].shape
    own = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2).astype(np.float32)
    for before, now in itertools.pairwise(greys):
        back, forth = search.calc(now, before, None), search.calc(before, now, None)
        where = own + back
        again = cv2.remap(forth, where, None, cv2.INTER_LINEAR)
        length = (back**2).sum(axis=2)
        far = ((back + again) ** 2).sum(axis=2)
        known = far < 0.01 * (length + (again**2).sum(axis=2)) + 0.5
        edges = sum((step**2).sum(axis=2) for step in np.gradient(back, axis=(0, 1)))
        known &= edges < 0.01 * length + 0.002
        known &= ((where >= 0) & (where <= (width - 1, height - 1))).all(axis=2)
        yield where, known


def warping_error(film: Film, motions: list[tuple[FloatArray, Uint8Array]]) -> float:
    """Measure as Lai et al. 2018, section 4.2: mean square of what differs, of levels from 0 to 1.

    A scene cut is left out: there, next to nothing is known.
    """
    errors = []
    for (before, now), (where, known) in zip(itertools.pairwise(film), motions, strict=True):
        if known.mean() > 0.2:
            moved = cv2.remap(before.astype(np.float32), where, None, cv2.INTER_LINEAR)
            errors.append(np.square((moved - now)[known] / 255).mean())
    return float(np.mean(errors))


def detail(film: Film) -> float:
    """Measure what a blur would take away: the mean square of the Laplacian."""
    return float(np.mean([np.square(cv2.Laplacian(frame, cv2.CV_32F)).mean() for frame in film]))


def measure(path: Path, options: argparse.Namespace) -> Ratio:
    """Print one video's rows; return how much of the flicker steadying leaves."""
    style = load_style(options.style)
    errors: dict[str, float] = {}
    for setting in ("off", "on", "strong"):
        began = time.process_time()
        cartoons = video_frames(path, style=style, max_height=options.max_height, stabilize=setting)
        frames = list(itertools.islice(cartoons, options.frames))
        spent = time.process_time() - began
        video = [frame.cartoon for frame in frames]
        if not errors:
            photos, drawn, drawing = [frame.photo for frame in frames], detail(video), spent
            motions = list(motion(photos))
            height, width = photos[0].shape[:2]
            print(f"{path.stem}, {width}x{height}, {len(photos)} frames")
            print(
                f"  {'':14}{'error, 1e-4':>12}{'of off':>8}{'detail of off':>15}{'time of off':>13}"
            )
            print(f"  {'video itself':14}{1e4 * warping_error(photos, motions):12.2f}")
        errors[setting] = warping_error(video, motions)
        print(
            f"  {setting:14}{1e4 * errors[setting]:12.2f}{errors[setting] / errors['off']:8.2f}"
            f"{detail(video) / drawn:15.2f}{spent / drawing:13.2f}"
        )
        for index, frame in enumerate(video):
            if options.save is None:
                break
            Image.fromarray(frame).save(options.save / f"{path.stem}-{setting}-{index:03d}.png")
    left = errors["on"] / errors["off"]
    return Ratio(f"warping error of {path.stem}, steadied / not", left, at_most=0.6)


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure how steady videos are.")
    parser.add_argument("--style", default="comic-fast")
    parser.add_argument("--size", default="480x270", help="of videos made from photos")
    parser.add_argument("--frames", type=int, default=16, help="of each video, from its beginning")
    parser.add_argument("--noise", type=float, default=4, help="of a camera, in levels of 255")
    parser.add_argument("--video", type=Path, action="append", default=[], help="and these")
    parser.add_argument("--max-height", type=int, default=480, help="larger ones are reduced")
    parser.add_argument("--save", type=Path, help="a folder for all frames")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Run it; `arguments` are the command line's."""
    options = parse_options(arguments)
    width, height = map(int, options.size.split("x"))
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        made = [Path(folder, f"{name}.mp4") for name in ("boats", "laptop", "tortilla")]
        for path in made:
            make_film(path, f"{path.stem}.jpg", (width, height), options.frames, options.noise)
        ratios = [measure(path, options) for path in (*made, *options.video)]
    print()
    print_ratios(ratios)
    return ratios


if __name__ == "__main__":
    main()
