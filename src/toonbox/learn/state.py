"""The training state: networks, optimizers, the generator's moving average, the step."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from toonbox.errors import TrainingError, UsageError
from toonbox.learn.config import TrainConfig
from toonbox.learn.discriminator import Discriminator, FeatureDiscriminator
from toonbox.learn.features import WIDTHS, EfficientNetFeatures
from toonbox.learn.generator import Generator
from toonbox.options import RunOptions

if TYPE_CHECKING:
    from lightning_fabric import Fabric

BETAS = (0.5, 0.99)
GRADIENT_CLIP = 0.5  # largest norm
CHANNELS = {"surface": 3, "texture": 1}
Network = TypeVar("Network", bound=nn.Module)


@dataclass
class Adversary:
    """A discriminator and its optimizer."""

    discriminator: nn.Module
    optimizer: Optimizer


@dataclass
class TrainingState:
    """Everything in a checkpoint, and the frozen features; adversaries by representation."""

    config: TrainConfig
    fabric: "Fabric"
    generator: nn.Module
    average: AveragedModel
    generator_optimizer: Optimizer
    adversaries: dict[str, Adversary] = field(default_factory=dict)
    features: EfficientNetFeatures | None = None
    step: int = 0

    @property
    def share(self) -> tuple[int, int]:
        """Return this process's rank and the number of processes."""
        return self.fabric.global_rank, self.fabric.world_size

    @property
    def learning_rate(self) -> float:
        """Return the generator's learning rate in this step, with linear decay in each phase."""
        config, pretrain = self.config, self.config.pretrain
        if self.step < pretrain.steps:
            rate, progress = pretrain.learning_rate, self.step / pretrain.steps
        else:
            rate = config.learning_rate
            progress = (self.step - pretrain.steps) / max(1, config.steps)
        return rate * (1 - progress * (1 - config.final_learning_rate))

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and numbers, loadable with `weights_only=True`."""
        return {name: part.state_dict() for name, part in self._parts()} | {"step": self.step}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Restore a `state_dict`; adversaries that are not in it stay untrained."""
        for name, part in self._parts():
            if name in values:
                part.load_state_dict(values[name])
        self.step = values["step"]

    def _parts(self) -> Iterable[tuple[str, Any]]:
        yield "generator", self.generator
        yield "average", self.average
        yield "generator_optimizer", self.generator_optimizer
        for name, adversary in self.adversaries.items():
            yield f"{name}_discriminator", adversary.discriminator
            yield f"{name}_optimizer", adversary.optimizer


def load_checkpoint(file: Path, *, mmap: bool = False) -> dict[str, Any]:
    """Load a checkpoint on the CPU; with `mmap`, tensors are read from the disk as they are used.

    Raises TrainingError if it is damaged, perhaps because it was not copied completely.
    """
    try:
        values: dict[str, Any] = torch.load(file, map_location="cpu", mmap=mmap, weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise TrainingError(
            f"{file}: cannot be read or is damaged; --start a new run with {file.parent}"
        ) from error
    return values


def new_fabric(options: RunOptions) -> "Fabric":
    """Launch a Fabric as the options say; raise UsageError if there are no such devices."""
    from lightning_fabric import Fabric  # takes longer to import than torch; exporting needs none

    try:
        fabric = Fabric(
            accelerator={"auto": "auto", "cpu": "cpu", "cuda": "gpu"}[options.device],
            devices=options.devices,
            strategy="ddp" if options.devices > 1 else "auto",
            precision="bf16-mixed" if options.precision == "bf16" else "32-true",
        )
    except RuntimeError as error:
        chosen = f"--device {options.device} --devices {options.devices}"
        raise UsageError(f"{chosen}: {error}") from error
    fabric.launch()
    return fabric


def new_state(
    config: TrainConfig, fabric: "Fabric", features: EfficientNetFeatures | None
) -> TrainingState:
    """Create untrained networks, identical in every process."""
    torch.manual_seed(config.seed)
    generator = channels_last(Generator(config.generator).to(fabric.device))
    average = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))  # type: ignore[no-untyped-call]
    optimizer = Adam(generator.parameters(), config.learning_rate, BETAS)
    state = TrainingState(config, fabric, generator, average, optimizer, features=features)
    options = config.discriminators
    for name in config.discriminated:
        network: nn.Module
        if options.kind == "features":
            assert features is not None
            network = FeatureDiscriminator(features, WIDTHS)
        else:
            network = Discriminator(CHANNELS[name], head=options.head)
        network.to(fabric.device)
        adam = Adam(network.parameters(), options.learning_rate, BETAS)
        state.adversaries[name] = Adversary(network, adam)
    return state


def channels_last(network: Network) -> Network:
    """Convert the weights, in place, to channels-last layout, the fastest on most devices."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def update(
    state: TrainingState,
    network: nn.Module,
    optimizer: Optimizer,
    loss: Tensor,
    learning_rate: float,
) -> None:
    """Take one optimizer step: backward, average over processes, clip, Adam.

    Raises TrainingError if the loss or a gradient is not finite; the weights are unchanged.
    """
    optimizer.zero_grad()
    state.fabric.backward(loss)
    parameters = [p for p in network.parameters() if p.grad is not None]
    if state.fabric.world_size > 1:
        averaged: Any = state.fabric.all_reduce([p.grad for p in parameters], reduce_op="mean")
        for parameter, mean in zip(parameters, averaged, strict=True):
            parameter.grad = mean
    norm = nn.utils.clip_grad_norm_(parameters, GRADIENT_CLIP)
    if not torch.isfinite(norm):
        raise TrainingError(
            f"step {state.step}: the loss is {loss.item():g} and the gradient's norm {norm:g}; "
            "the last checkpoint is good: --start a new run with it and a lower learning rate"
        )
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
