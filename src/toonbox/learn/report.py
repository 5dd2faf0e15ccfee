"""What a run shows: the progress bar, the TensorBoard scalars, the sample grids."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from toonbox.atomic import replacing
from toonbox.learn.config import RunOptions
from toonbox.learn.inspect import read_picture
from toonbox.learn.representations.structure import structure
from toonbox.learn.representations.surface import surface
from toonbox.learn.representations.texture import draw_channel_weights, texture
from toonbox.learn.state import TrainingState
from toonbox.pixels import Uint8Array, from_signed, to_signed

SAMPLE_SIDE = 256
GAP = 4


def load_samples(files: Sequence[Path]) -> Tensor:
    """Read the middle of each picture: (N, 3, SAMPLE_SIDE, SAMPLE_SIDE) in [-1, 1]."""
    size = (SAMPLE_SIDE, SAMPLE_SIDE)
    squares = [np.asarray(ImageOps.fit(read_picture(file), size)) for file in files]
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
    for photo in torch.split(photos, 1):
        output = generator(photo).float().cpu()
        grey = texture(output, draw_channel_weights("grayscale")).expand(-1, 3, -1, -1)
        tensors = photo.cpu(), output, surface(output), grey
        cells = [from_signed(t[0].permute(1, 2, 0).numpy()) for t in tensors]
        cells.insert(3, structure(cells[1]))
        frame = ((0, GAP), (0, GAP), (0, 0))
        rows.append(np.hstack([np.pad(cell, frame, constant_values=255) for cell in cells]))
    return np.vstack(rows)


@contextmanager
def reporting(
    state: TrainingState, options: RunOptions, validation: Sequence[Path]
) -> Iterator[Callable[[dict[str, Tensor]], None]]:
    """Yield a function that reports the step just done; it does so in the first process only."""
    if not state.fabric.is_global_zero:
        yield lambda _: None
        return
    config, console = state.config, Console(stderr=True)
    samples = load_samples(validation).to(state.fabric.device)
    writer = SummaryWriter(str(options.out / "tensorboard"), purge_step=state.step + 1)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
        console=console,
        disable=not console.is_terminal,
    )
    task = bar.add_task("training", total=config.total_steps, completed=state.step, losses="")

    def report(losses: dict[str, Tensor]) -> None:
        phase = "pre-training" if state.step <= config.pretrain.steps else "adversarial"
        values = {name: loss.item() for name, loss in losses.items()}
        for name, value in values.items():
            writer.add_scalar(f"{phase}/{name}", value, state.step)
        text = " ".join(f"{name} {value:.3f}" for name, value in values.items())
        bar.update(task, description=phase, completed=state.step, losses=text)
        last = state.step in (config.pretrain.steps, config.total_steps)
        if state.step % options.sample_every == 0 or last:
            if bar.disable:
                print(f"step {state.step} {phase}: {text}", file=sys.stderr, flush=True)
            file = options.out / "samples" / f"{state.step:06d}.png"
            file.parent.mkdir(exist_ok=True)
            with replacing(file) as temporary:
                Image.fromarray(sample_grid(state.average.module, samples)).save(temporary)

    with closing(writer), bar:
        yield report
