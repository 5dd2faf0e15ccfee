"""The run's folder: configuration, data, checkpoint, TensorBoard scalars, sample grids."""

import hashlib
import io
import json
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from rich.progress import MofNCompleteColumn, TextColumn
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from toonbox.atomic import write_file, writing
from toonbox.engine.style import GENERATOR
from toonbox.errors import ConfigError, TrainingError
from toonbox.learn.config import TrainConfig, load_config, save_config
from toonbox.learn.data import TrainingData
from toonbox.learn.generator import Generator, save_generator
from toonbox.learn.inspect import read_picture
from toonbox.learn.progress import bars
from toonbox.learn.representations.structure import structure
from toonbox.learn.representations.surface import surface
from toonbox.learn.representations.texture import draw_channel_weights, texture
from toonbox.learn.state import TrainingState, load_checkpoint
from toonbox.options import RunOptions
from toonbox.pixels import Uint8Array, from_signed, to_signed

SAMPLE_SIDE = 256
GAP = 4
_logger = logging.getLogger(__name__)


def prepare_run(
    config: TrainConfig, out: Path, data: TrainingData, recipe: str = "", start: Path | None = None
) -> None:
    """Create the run's folder with the resolved configuration, data and environment.

    Args:
        recipe: name of the file of the configuration.
        start: weights of the generator to start from, which may be the teacher. Logs a warning if
            the run in the folder began with others.
    Raises:
        ConfigError: the configuration has no steps, or fewer than the run in the folder has done.
        TrainingError: the run in the folder differs in its configuration, other than the number of
            steps, or in its teacher; or its checkpoint is damaged.
        OutputError: the folder cannot be written.
    """
    if not config.total_steps:
        raise ConfigError(f"{out}: 0 steps, so that there is nothing to learn")
    file, checkpoint = out / "config.toml", out / "checkpoint.pt"
    about = out / "environment.json"
    begun_with: str | None = hashlib.sha256(start.read_bytes()).hexdigest() if start else ""
    if file.exists():
        before = load_config(file)
        now = replace(config, steps=before.steps)
        if not before.steps and not config.steps:
            now = replace(now, pretrain=replace(now.pretrain, steps=before.pretrain.steps))
        if different := before.differences(now):
            raise TrainingError(
                f"{out}: holds a run of another configuration ({', '.join(different)}); choose "
                "another --out, or the same options to resume"
            )
    if checkpoint.exists():
        done = load_checkpoint(checkpoint, mmap=True)["step"]
        if config.total_steps < done:
            raise ConfigError(
                f"{checkpoint}: {done} steps are done, more than the {config.total_steps} of this "
                "configuration; ask for at least as many, or choose another --out"
            )
        # None of runs that are older than this entry.
        first = json.loads(about.read_text()).get("start_sha256") if about.exists() else None
        if start and first not in (None, begun_with):
            if config.target == "teacher":
                raise TrainingError(
                    f"{out}: holds a run with another teacher than {start}; choose another --out, "
                    "or the same --start to resume"
                )
            _logger.warning("%s: goes on from its checkpoint, and ignores %s", out, start)
        begun_with = first
    save_config(config, file)
    data.save(out / "data.json")
    names = ("toonbox", "torch", "numpy", "lightning-fabric")
    environment = {
        **{name: version(name) for name in names},
        "opencv": cv2.__version__,  # which several packages bring
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": " ".join(sys.argv),
        "recipe": recipe,
        "start_sha256": begun_with,
    }
    write_file(about, json.dumps(environment, indent=2).encode())


def save(state: TrainingState, out: Path) -> None:
    """Write the checkpoint and, as a separate file, the averaged generator, from one process.

    Raises OutputError if one of them cannot be written; the one before it stays.
    """
    if not state.fabric.is_global_zero:
        return
    buffer = io.BytesIO()  # torch does not tell why it cannot write to a disk
    torch.save(state.state_dict(), buffer)
    write_file(out / "checkpoint.pt", buffer.getvalue())
    generator = state.average.module
    assert isinstance(generator, Generator)
    save_generator(generator, out / GENERATOR)


def load_samples(files: Sequence[Path], side: int = SAMPLE_SIDE) -> Tensor:
    """Read the central square of each picture at a size in pixels: (N, 3, S, S) in [-1, 1]."""
    squares = [np.asarray(ImageOps.fit(read_picture(file), (side, side))) for file in files]
    return torch.from_numpy(to_signed(np.stack(squares))).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def sample_grid(generator: nn.Module, photos: Tensor) -> Uint8Array:
    """Show each photo, (N, 3, H, W), in a row: input, output, the output's three representations.

    The grid is (N * (H + GAP), 5 * (W + GAP), 3), with white gaps.
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
    """Yield a function that logs the losses of a step; it does nothing outside the first process.

    Every `sample_every` steps and at the end of each phase it also writes a sample grid.
    """
    if not state.fabric.is_global_zero:
        yield lambda _: None
        return
    config = state.config
    samples = load_samples(validation).to(state.fabric.device)
    writer = SummaryWriter(str(options.out / "tensorboard"), purge_step=state.step + 1)
    bar = bars(MofNCompleteColumn(), TextColumn("{task.fields[losses]}"))
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
            with writing(options.out / "samples" / f"{state.step:06d}.png") as temporary:
                Image.fromarray(sample_grid(state.average.module, samples)).save(temporary)

    with closing(writer), bar:
        yield report
