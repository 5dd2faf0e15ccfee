"""The run: pre-train, train, report, and leave behind what is needed to go on."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader

from toonbox.checkpoint import save_generator
from toonbox.data.crops import CropBatches
from toonbox.data.drawings import Drawings, prepare_layers
from toonbox.data.workers import quiet_worker, worker_pool
from toonbox.errors import ConfigError, TrainingError
from toonbox.files import replacing
from toonbox.networks.efficientnet import EfficientNetFeatures
from toonbox.networks.generator import Generator
from toonbox.networks.narrow import narrowed
from toonbox.signals import ending, interruptible
from toonbox.training.config import TrainConfig, load_config, save_config
from toonbox.training.folders import TrainingData
from toonbox.training.knobs import KnobSettings
from toonbox.training.pretrain import pretrain_step
from toonbox.training.report import Reporter, RunOptions
from toonbox.training.state import TrainingState, channels_last, new_state
from toonbox.training.step import adversarial_step

Features = Callable[[Tensor], Tensor]
CROPS_TO_FIT = 40  # what a smaller generator is fitted to a larger one on


def new_fabric(options: RunOptions) -> Fabric:
    """Make the Fabric that knows device, processes and precision."""
    accelerator = {"auto": "auto", "cpu": "cpu", "cuda": "gpu"}[options.device]
    fabric = Fabric(
        accelerator=accelerator,
        devices=options.devices,
        strategy="ddp" if options.devices > 1 else "auto",
        precision="bf16-mixed" if options.precision == "bf16" else "32-true",
    )
    fabric.launch()
    return fabric


def train(
    config: TrainConfig,
    data: TrainingData,
    options: RunOptions,
    vgg: torch.nn.Module | None,
    features: EfficientNetFeatures | None,
    fabric: Fabric | None = None,
    teacher: Generator | None = None,
    start: Generator | None = None,
) -> None:
    """Train a generator, or go on with the run that `options.out` holds.

    Args:
        config: what is learnt.
        data: the pictures.
        options: how it is done.
        vgg: frozen features for the content and the structure loss; None if these weigh 0.
        features: frozen, for what of the configuration needs them; else None.
        fabric: a launched Fabric, or None for one made from `options`.
        teacher: whose outputs are the target of reconstruction, for pre-training of that kind.
        start: whose weights a new run begins with; a larger one is fitted to the configured size.
    Raises:
        TrainingError: a loss or gradient is not a number; the last checkpoint is good.
        ConfigError: `start` or `teacher` does not fit the configuration, or what it needs is
            missing.
        KeyboardInterrupt, SystemExit: after Ctrl-C or SIGTERM, when the step is done and a
            checkpoint written.
    """
    if config.needs_vgg and vgg is None:
        raise ConfigError("this configuration needs VGG features")
    if config.discriminated and not data.cartoons.files:
        raise ConfigError("this configuration needs cartoons")
    fabric = fabric or new_fabric(options)
    state = new_state(config, fabric, features and channels_last(features.to(fabric.device)))
    vgg = vgg and channels_last(vgg.to(fabric.device))
    teacher = teacher and channels_last(teacher.to(fabric.device))
    if teacher is not None and config.generator.knobs and not teacher.config.knobs:
        raise ConfigError("the teacher has no knobs for its pupil to learn")
    checkpoint = options.out / "checkpoint.pt"
    if start is not None and not checkpoint.exists():
        begin_with(state, start, data)
    if checkpoint.exists():
        state.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    # Before Ctrl-C is deferred: many photos take hours.
    drawings = prepare_drawings(config, data, options, fabric)
    with ExitStack() as stack:
        workers = stack.enter_context(worker_pool(options.workers))
        asked = stack.enter_context(interruptible())
        report = stack.enter_context(Reporter.open(state, options, data.validation))
        saved = time.monotonic()
        for batch in batches(state, data, options, drawings):
            losses = one_step(state, batch, vgg, workers, teacher)
            state.step += 1
            report.step(losses)
            due = time.monotonic() - saved >= options.checkpoint_minutes * 60
            # All processes must agree: the message of one stops the others.
            stop = fabric.broadcast(asked.number) if fabric.world_size > 1 else asked.number
            if due or stop or state.step == config.total_steps:
                save(state, options.out)
                saved = time.monotonic()
            if stop:
                raise ending(stop)


def begin_with(state: TrainingState, start: Generator, data: TrainingData) -> None:
    """Take another run's weights, for the generator and for its average.

    A larger generator's are fitted to the configured size, on crops of the photos.

    Raises:
        ConfigError: its size does not correspond to the configured one.
    """
    config = state.config
    if start.config != config.generator:
        crops = CropBatches(data.photos, None, config.crops, config.seed)
        batches = -(-CROPS_TO_FIT // config.crops.batch_size)
        photos = torch.cat([crops[step]["photo"] for step in range(batches)])
        multiple = max(start.config.size_multiple, config.generator.size_multiple)
        side = max(1, config.crops.size // multiple) * multiple
        signed = _to_signed(photos, torch.device("cpu"))
        start = narrowed(start, config.generator, signed[..., :side, :side])
    for network in (state.generator, state.average.module):
        network.load_state_dict(start.state_dict())


def one_step(
    state: TrainingState,
    batch: dict[str, Tensor],
    vgg: Features | None,
    workers: Executor,
    teacher: Generator | None = None,
) -> dict[str, Tensor]:
    """Do the update that the step's phase asks for."""
    images = {name: _to_signed(t, state.fabric.device) for name, t in batch.items()}
    photo, target = images["photo"], images.get("target")
    if teacher is not None:
        knobs = KnobSettings.draw(state.config, state.step)
        with torch.no_grad(), state.fabric.autocast():
            target = teacher(photo, knobs.tensor(state.config, photo))
    if state.step < state.config.pretrain.steps:
        return pretrain_step(state, photo, photo if target is None else target)
    return adversarial_step(state, photo, images.get("cartoon"), vgg, workers, target)


def _to_signed(batch: Tensor, device: torch.device) -> Tensor:
    images = batch.to(device, non_blocking=True).float() / 127.5 - 1
    return images.contiguous(memory_format=torch.channels_last)


def prepare_drawings(
    config: TrainConfig, data: TrainingData, options: RunOptions, fabric: Fabric
) -> Drawings | None:
    """Compute the layers that are missing; None for a run without drawn targets."""
    if config.target != "drawing":
        return None
    low, high = (max(side, config.crops.size) for side in config.crops.photo_side)
    with fabric.rank_zero_first(local=True):
        files = prepare_layers(data.photos.files, (low, high), options.drawings, options.workers)
    return Drawings(files, config.pretrain.look, partial(KnobSettings.draw, config))


def batches(
    state: TrainingState,
    data: TrainingData,
    options: RunOptions,
    drawings: Drawings | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Give the batches from the state's step to the end, phase by phase."""
    config, fabric = state.config, state.fabric
    share = (fabric.global_rank, fabric.world_size)
    held = drawings if config.weights.reconstruction else None
    source = (config.crops, config.seed, share)
    pretraining = CropBatches(data.photos, None, *source, drawings)
    cartoons = data.cartoons if config.discriminated else None
    adversarial = CropBatches(data.photos, cartoons, *source, held)
    for phase, end in (
        (pretraining, config.pretrain.steps),
        (adversarial, config.total_steps),
    ):
        if state.step < end:
            yield from DataLoader(
                phase,
                batch_size=None,
                sampler=range(state.step, end),
                num_workers=options.workers,
                # A fork of a process that has run torch's threads may hang.
                multiprocessing_context="spawn" if options.workers else None,
                prefetch_factor=4 if options.workers else None,
                worker_init_fn=quiet_worker,
            )


def save(state: TrainingState, out: Path) -> None:
    """Write the checkpoint, and the averaged generator for those who only want that."""
    if not state.fabric.is_global_zero:
        return
    with replacing(out / "checkpoint.pt") as temporary:
        torch.save(state.state_dict(), temporary)
    generator = state.average.module
    assert isinstance(generator, Generator)
    save_generator(generator, out / "generator.safetensors")


def prepare_run(
    config: TrainConfig, out: Path, data: TrainingData, retune: bool = False, recipe: str = ""
) -> None:
    """Make the run's folder: resolved configuration, data and environment.

    Args:
        config: what is learnt; `steps` may always differ from what the run began with.
        out: the run's folder.
        data: the pictures.
        retune: go on although the configuration has changed. The networks and the seed must be
            the same; the earlier configuration is kept beside the new one.
        recipe: name of the file that the configuration was read from, for the style's card.
    Raises:
        TrainingError: it holds a run of another configuration.
    """
    out.mkdir(parents=True, exist_ok=True)
    file = out / "config.toml"
    if file.exists():
        before = load_config(file)
        fixed: dict[str, Any] = {"steps": config.steps}
        if retune:
            rates = ("learning_rate", "final_learning_rate", "knobs_at_default")
            tunable = (*rates, "pretrain", "structure", "weights", "texture", "photo_guided_filter")
            fixed |= {name: getattr(config, name) for name in tunable}
        if replace(before, **fixed) != config:
            raise TrainingError(
                f"{out}: holds a run of another configuration; choose another --out, or the same "
                "options to go on" + ("" if retune else ", or --retune to change loss weights")
            )
        if replace(before, steps=config.steps) != config:
            earlier = len(list(out.glob("config-*.toml"))) + 1
            file.rename(out / f"config-{earlier}.toml")
    save_config(config, file)
    data.save(out / "data.json")
    with replacing(out / "environment.json") as temporary:
        temporary.write_text(json.dumps({**environment(), "recipe": recipe}, indent=2))


def environment() -> dict[str, str | int | None]:
    """Describe what a run ran on."""
    names = ("toonbox", "torch", "numpy", "opencv-contrib-python-headless", "lightning-fabric")
    return {
        **{name: version(name) for name in names},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": " ".join(sys.argv),
    }
