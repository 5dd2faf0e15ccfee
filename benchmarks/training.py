"""Time an adversarial step part by part, with the superpixels in worker processes and without.

Run `python benchmarks/training.py`; docs/benchmarks.md says what the columns mean.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from toonbox.learn.config import (
    CropConfig,
    DiscriminatorsConfig,
    PretrainConfig,
    TrainConfig,
)
from toonbox.learn.data import TrainingData, batches
from toonbox.learn.features import EfficientNetFeatures, VggFeatures
from toonbox.learn.state import TrainingState, channels_last, new_fabric, new_state
from toonbox.learn.train import one_step
from toonbox.learn.workers import worker_pool
from toonbox.options import RunOptions

PICTURES = 40
SIDE = 512
WARM_UP = 2

DATA = "waiting for data"
FORWARD = "generator forward"
SUPERPIXELS = "waiting for superpixels"
VGG = "VGG"
DISCRIMINATORS = "discriminators"
BACKWARD = "generator backward, update"
REST = "representations, losses"
PARTS = (DATA, FORWARD, SUPERPIXELS, VGG, DISCRIMINATORS, BACKWARD, REST)

OVERLAPPED, IN_SEQUENCE = "in workers", "in sequence"
Seconds = dict[str, float]
T = TypeVar("T")


class Clock:
    """Books the time that passes on one part at a time."""

    def __init__(self) -> None:
        self.part = REST
        self.since = time.perf_counter()
        self.seconds: Seconds = defaultdict(float)

    def switch(self, part: str) -> None:
        """From now on the time belongs to `part`."""
        now = time.perf_counter()
        self.seconds[self.part] += now - self.since
        self.part, self.since = part, now

    def take(self) -> Seconds:
        """Give what was booked so far and begin anew."""
        self.switch(REST)
        seconds, self.seconds = self.seconds, defaultdict(float)
        return seconds


def follow(clock: Clock, network: nn.Module, forward: str, backward: str) -> None:
    """Book each pass through a network, forwards and backwards, by hooks."""

    def enter(_: nn.Module, inputs: tuple[Tensor]) -> None:
        clock.switch(forward)

    def rest(_: Tensor) -> None:
        if clock.part == backward:  # not where the input is what another network gave
            clock.switch(REST)

    def leave(_: nn.Module, inputs: tuple[Tensor], result: Tensor | list[Tensor]) -> None:
        clock.switch(REST)
        # The gradient reaches the result first, the input last.
        for output in [result] if isinstance(result, Tensor) else result:
            if output.requires_grad:
                output.register_hook(lambda _: clock.switch(backward))  # type: ignore[no-untyped-call]
        if inputs[0].requires_grad:
            inputs[0].register_hook(rest)  # type: ignore[no-untyped-call]

    network.register_forward_pre_hook(enter)
    network.register_forward_hook(leave)


def follow_state(clock: Clock, state: TrainingState) -> None:
    """Book the networks that a step changes, and their updates."""
    follow(clock, state.generator, FORWARD, BACKWARD)
    adversaries = state.adversaries.values()
    for adversary in adversaries:
        follow(clock, adversary.discriminator, DISCRIMINATORS, DISCRIMINATORS)
    for optimizer in (state.generator_optimizer, *(a.optimizer for a in adversaries)):
        optimizer.register_step_post_hook(lambda *_: clock.switch(REST))


class InSequence(Executor):
    """Computes at once, in this process, what it is given."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Compute."""
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Followed(Executor):
    """Books the time that handing over to an executor and waiting for it takes."""

    def __init__(self, clock: Clock, executor: Executor) -> None:
        self.clock, self.executor = clock, executor

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Hand over."""
        self.clock.switch(SUPERPIXELS)
        future = self.executor.submit(fn, *args, **kwargs)
        self.clock.switch(REST)
        return FollowedFuture(self.clock, future)


class FollowedFuture(Future[T]):
    """Books the time that waiting for the result takes."""

    def __init__(self, clock: Clock, future: Future[T]) -> None:
        super().__init__()
        self.clock, self.future = clock, future

    def result(self, timeout: float | None = None) -> T:
        """Wait."""
        self.clock.switch(SUPERPIXELS)
        result = self.future.result(timeout)
        self.clock.switch(REST)
        return result


def draw_photo(random: np.random.Generator) -> Image.Image:
    """Smooth colours, a few smooth shapes, noise."""
    colours = random.integers(0, 256, (6, 6, 3), np.uint8)
    image = Image.fromarray(colours).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for x, y, radius, *colour in random.integers(0, 256, (12, 6)).tolist():
        box = (2 * x - radius / 2, 2 * y - radius / 2, 2 * x + radius / 2, 2 * y + radius / 2)
        draw.ellipse(box, tuple(colour))
    noisy = np.asarray(image) + random.normal(0, 8, (SIDE, SIDE, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def draw_drawing(random: np.random.Generator) -> Image.Image:
    """Flat triangles with dark outlines."""
    image = Image.new("RGB", (SIDE, SIDE), tuple(random.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        corners = random.integers(0, SIDE, 2) + random.integers(-120, 121, (3, 2))
        colour = tuple(random.integers(0, 256, 3).tolist())
        draw.polygon(corners.ravel().tolist(), colour, outline=(20, 20, 30), width=5)
    return image


def write_pictures(folder: Path) -> TrainingData:
    """Write the seeded data set."""
    domains = []
    for kind, draw in enumerate((draw_photo, draw_drawing)):
        files = [folder / f"{draw.__name__}-{index:02}.jpg" for index in range(PICTURES)]
        for index, file in enumerate(files):
            draw(np.random.default_rng((kind, index))).save(file, quality=90)
        domains.append(files)
    return TrainingData(*domains)


def new_vgg(config: TrainConfig, file: Path | None) -> VggFeatures:
    """Give VGG of a file, or of seeded random weights, which take as long."""
    torch.manual_seed(config.seed)
    return VggFeatures.load(config.vgg, file) if file else VggFeatures(config.vgg)


def one_timed_step(
    clock: Clock,
    state: TrainingState,
    stream: Iterator[dict[str, Tensor]],
    vgg: nn.Module,
    workers: Executor,
) -> Seconds:
    """Do what the training loop does for one step; give its seconds by part."""
    clock.take()
    clock.switch(DATA)
    batch = next(stream)
    clock.switch(REST)
    one_step(state, batch, vgg, workers)
    state.step += 1
    return clock.take()


def time_steps(
    config: TrainConfig,
    data: TrainingData,
    options: RunOptions,
    vgg: nn.Module,
    features: EfficientNetFeatures | None,
) -> dict[str, Seconds]:
    """Alternate between both ways with the superpixels; give each one's mean seconds by part."""
    state = new_state(config, new_fabric(options), features)
    clock = Clock()
    follow_state(clock, state)
    follow(clock, vgg, VGG, VGG)
    rounds = config.steps // 2
    sums: dict[str, Seconds] = {name: defaultdict(float) for name in (OVERLAPPED, IN_SEQUENCE)}
    with worker_pool(options.workers) as pool:
        ways = {OVERLAPPED: Followed(clock, pool), IN_SEQUENCE: Followed(clock, InSequence())}
        stream = batches(config, data, options, {})
        for round_number in range(rounds):
            for name, workers in ways.items():
                seconds = one_timed_step(clock, state, stream, vgg, workers)
                if round_number >= WARM_UP:
                    for part in PARTS:
                        sums[name][part] += seconds[part] / (rounds - WARM_UP)
    return sums


def print_table(kind: str, means: Mapping[str, Seconds]) -> None:
    totals = {name: sum(seconds.values()) for name, seconds in means.items()}
    print(f"\n{f'discriminators: {kind}':28}" + "".join(f"{name:>20}" for name in means))
    for part in PARTS:
        cells = [f"{s[part]:11.4f} s{s[part] / totals[name]:7.1%}" for name, s in means.items()]
        print(f"{part:28}" + "".join(cells))
    print(f"{'total':28}" + "".join(f"{total:11.4f} s{1:7.0%}" for total in totals.values()))
    ratio = totals[IN_SEQUENCE] / totals[OVERLAPPED]
    print(f"superpixels in sequence make the step {ratio:.2f}x as long as in workers")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time an adversarial step, part by part.")
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each way")
    parser.add_argument("--crop", type=int, default=192, help="side of a crop, pixels")
    parser.add_argument("--batch", type=int, default=4, help="crops in a batch")
    parser.add_argument("--vgg", type=Path, help="VGG16 weights; seeded random ones if not given")
    parser.add_argument("--features", type=Path, help="time discriminators on these features too")
    parser.add_argument("--workers", type=int, default=2, help="processes for data, superpixels")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    options = parser.parse_args()
    if min(options.steps, options.crop, options.batch, options.workers) < 1:
        parser.error("--steps, --crop, --batch and --workers are at least 1")
    return options


def main() -> None:
    options = parse_options()
    kinds: dict[Literal["scratch", "features"], EfficientNetFeatures | None] = {"scratch": None}
    if options.features is not None:
        kinds["features"] = EfficientNetFeatures.load(options.features)
    print(f"batch {options.batch} of {options.crop}x{options.crop}, precision {options.precision}")
    print(
        f"{options.workers} workers, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = write_pictures(folder)
        for kind, features in kinds.items():
            config = TrainConfig(
                steps=2 * (options.steps + WARM_UP),
                pretrain=PretrainConfig("identity", steps=0),
                crops=CropConfig(options.crop, options.batch),
                discriminators=DiscriminatorsConfig(kind=kind),
            )
            run = RunOptions(folder, "cpu", precision=options.precision, workers=options.workers)
            vgg = channels_last(new_vgg(config, options.vgg))
            print_table(kind, time_steps(config, data, run, vgg, features))


if __name__ == "__main__":
    main()
