"""What a run shows while it goes on: the bar, the TensorBoard scalars, the sample grids."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from toonbox.training.grid import load_samples, sample_grid, save_grid
from toonbox.training.state import TrainingState


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
