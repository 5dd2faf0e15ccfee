"""What a run shows while it goes on: the bar, the TensorBoard scalars, the sample grids."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from toonbox.atomic import replacing
from toonbox.learn.representations.structure import structure
from toonbox.learn.representations.surface import surface
from toonbox.learn.representations.texture import draw_channel_weights, texture
from toonbox.learn.state import TrainingState
from toonbox.pixels import Uint8Array, from_signed, to_signed

GAP = 4


def load_samples(files: Sequence[Path], side: int) -> Tensor:
    """Read the middle of each picture: (N, 3, side, side) in [-1, 1]."""
    squares = []
    for file in files:
        with Image.open(file) as opened:
            squares.append(np.asarray(ImageOps.fit(opened.convert("RGB"), (side, side))))
    return torch.from_numpy(to_signed(np.stack(squares))).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def sample_grid(generator: nn.Module, photos: Tensor) -> Uint8Array:
    """Draw one row a photo: input, output, and the output's surface, structure and texture.

    Args:
        generator: (1, 3, H, W) to the same.
        photos: (N, 3, H, W) in [-1, 1].
    Returns:
        (N * (H + GAP), 5 * (W + GAP), 3), white between the pictures.
    """
    rows = []
    weights = draw_channel_weights("grayscale")
    for photo in photos:
        output = generator(photo[None]).float().cpu()
        grey = texture(output, weights).expand(-1, 3, -1, -1)
        cells = [_picture(t) for t in (photo[None].cpu(), output, surface(output), grey)]
        cells.insert(3, structure(cells[1]))
        rows.append(np.hstack([_framed(cell) for cell in cells]))
    return np.vstack(rows)


def _picture(image: Tensor) -> Uint8Array:
    return from_signed(image[0].permute(1, 2, 0).numpy())


def _framed(cell: Uint8Array) -> Uint8Array:
    return np.pad(cell, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


def save_grid(grid: Uint8Array, file: Path) -> None:
    """Write a grid as PNG."""
    with replacing(file) as temporary:
        Image.fromarray(grid).save(temporary)


@dataclass(frozen=True)
class RunOptions:
    """How a run is done; none of it changes what is learnt, up to the precision.

    Attributes:
        out: the run's folder.
        device: `auto`, `cpu` or `cuda`.
        devices: processes that share each batch.
        precision: `32` or `bf16` (autocast).
        workers: processes for crops, and as many for superpixels.
        sample_every: steps between two sample grids.
        checkpoint_minutes: between two checkpoints; 0 writes one after each step.
        drawings: folder for the drawn targets; None for the user's cache.
    """

    out: Path
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    precision: Literal["32", "bf16"] = "32"
    workers: int = 2
    sample_every: int = 250
    checkpoint_minutes: float = 5.0
    drawings: Path | None = None


class Reporter:
    """The bar, the TensorBoard scalars and the sample grids of one process; quiet in the others."""

    def __init__(
        self, state: TrainingState, options: RunOptions, samples: Tensor, stack: ExitStack
    ) -> None:
        self.state, self.options, self.samples = state, options, samples
        self.writer = SummaryWriter(str(options.out / "tensorboard"), purge_step=state.step + 1)
        stack.callback(self.writer.close)
        console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task(
            "training", total=state.config.total_steps, completed=state.step, losses=""
        )
        stack.enter_context(self.bar)

    @classmethod
    @contextmanager
    def open(
        cls, state: TrainingState, options: RunOptions, validation: list[Path]
    ) -> Iterator["Reporter | Silence"]:
        """Give the reporter of the first process, silence to the others."""
        if not state.fabric.is_global_zero:
            yield Silence()
            return
        samples = load_samples(validation, 256).to(state.fabric.device)
        with ExitStack() as stack:
            yield cls(state, options, samples, stack)

    def step(self, losses: dict[str, Tensor]) -> None:
        """Report the step that was just done."""
        state = self.state
        pretraining = state.step <= state.config.pretrain.steps
        phase = "pre-training" if pretraining else "adversarial"
        values = {name: loss.item() for name, loss in losses.items()}
        for name, value in values.items():
            self.writer.add_scalar(f"{phase}/{name}", value, state.step)
        text = " ".join(f"{name} {value:.3f}" for name, value in values.items())
        self.bar.update(self.task, description=phase, completed=state.step, losses=text)
        last = state.step in (state.config.pretrain.steps, state.config.total_steps)
        if state.step % self.options.sample_every == 0 or last:
            if self.bar.disable:
                print(f"step {state.step} {phase}: {text}", file=sys.stderr, flush=True)
            file = self.options.out / "samples" / f"{state.step:06d}.png"
            file.parent.mkdir(exist_ok=True)
            save_grid(sample_grid(state.average.module, self.samples), file)


class Silence:
    """The reporter of all processes but the first."""

    def step(self, losses: dict[str, Tensor]) -> None:
        """Say nothing."""
